//! The name that a misspelled key probably meant.

/// Similarity from which a name is suggested, as clap does for options.
const SIMILAR: f64 = 0.7;

/// The most similar of the names; absent if none is similar.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.replace('_', "-");
    let similarity = |name| (strsim::jaro(&word, name), name);
    let best = names.into_iter().map(similarity);
    let best = best.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(similarity, _)| *similarity > SIMILAR)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let names = ["every", "metrics", "metrics-file", "not-port", "port"];
        for (word, name) in [
            ("evry", Some("every")),
            ("metrics_file", Some("metrics-file")),
            ("ports", Some("port")),
            ("not_ports", Some("not-port")),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), name, "{word}");
        }
    }
}
