#!/bin/bash
# The static binary, its packages, a bill of materials and checksums, in FOLDER/out: dist.sh FOLDER
# `cargo xtask dist` runs it after installing what it needs. The bytes depend on the commit and the toolchain only: paths are
# remapped, and all times are the commit's.
set -euo pipefail
umask 022
mkdir -p "$1/out"
folder=$(cd "$1" && pwd)
out=$folder/out
source=$(cd "$(dirname "$0")/../.." && pwd)
packaging=$source/rsttrace/packaging
target=x86_64-unknown-linux-musl
cd "$source"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037%s' "--remap-path-prefix=$source=/rsttrace" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo")
export SOURCE_DATE_EPOCH CARGO_ENCODED_RUSTFLAGS CARGO_INCREMENTAL=0
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

[ -z "$(git status --porcelain)" ] || echo 'warning: uncommitted changes; the binary names the last commit' >&2
cargo build --profile dist --locked --package rsttrace --bin rsttrace --target "$target" --target-dir "$folder"
binary=$folder/$target/dist/rsttrace

install_file() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$root/$3"
}

generate() { # TARGET ARGUMENT...
    mkdir -p "$root/$(dirname "$1")"
    to=$root/$1
    shift
    "$binary" "$@" >"$to"
}

# Everything but the completions for zsh, which have another folder in each family.
install_files() {
    install_file 755 "$binary" usr/bin/rsttrace
    install_file 644 "$packaging/rsttrace.service" usr/lib/systemd/system/rsttrace.service
    install_file 644 "$packaging/config.toml" etc/rsttrace/config.toml
    for text in README.md LICENSE-MIT LICENSE-APACHE; do
        install_file 644 "$text" "usr/share/doc/rsttrace/$text"
    done
    install_file 644 "$packaging/deb/copyright" usr/share/doc/rsttrace/copyright
    for page in docs/*.md docs/situations/*.md; do
        install_file 644 "$page" "usr/share/doc/rsttrace/$page"
    done
    install_file 644 CHANGELOG.md usr/share/doc/rsttrace/changelog
    generate usr/share/bash-completion/completions/rsttrace completions bash
    generate usr/share/fish/vendor_completions.d/rsttrace.fish completions fish
    generate usr/share/man/man1/rsttrace.1 man
    for command in $("$binary" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
        [ "$command" = help ] || generate "usr/share/man/man1/rsttrace-$command.1" man "$command"
    done
    gzip -9 -n "$root"/usr/share/man/man1/*.1 "$root/usr/share/doc/rsttrace/changelog"
}

rm -rf "$out"
mkdir "$out"

root=$stage/deb
install_files
generate usr/share/zsh/vendor-completions/_rsttrace completions zsh
size=$(du -sk --apparent-size "$root" | cut -f1)
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$stage/md5sums"
install_file 644 "$stage/md5sums" DEBIAN/md5sums
install_file 644 "$packaging/deb/conffiles" DEBIAN/conffiles
for script in postinst prerm postrm; do
    install_file 755 "$packaging/deb/$script" "DEBIAN/$script"
done
sed "s/@VERSION@/$version/; s/@SIZE@/$size/" "$packaging/deb/control" >"$root/DEBIAN/control"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/rsttrace_${version}_amd64.deb" >/dev/null

root=$stage/rpm
install_files
generate usr/share/zsh/site-functions/_rsttrace completions zsh
rpmbuild --quiet -bb --target x86_64-linux \
    --define "_topdir $stage/top" --define "_rpmdir $out" --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
    --define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' \
    --define 'clamp_mtime_to_source_date_epoch 1' --define '_binary_payload w9.xzdio' \
    --define "stage $root" --define "release_version $version" "$packaging/rsttrace.spec" >/dev/null

install -m 755 "$binary" "$out/rsttrace"

# CycloneDX: name, version and license of each crate in the binary. `/` is an old way to write OR.
cargo tree --locked --package rsttrace --target "$target" --edges normal --prefix none --no-dedupe --format '{p}|{l}' |
    sed -n 's/^\([^ ]*\) v\([^ |]*\)[^|]*|\(.*\)$/\1|\2|\3/p' | grep -v '^rsttrace' | LC_ALL=C sort -u |
    awk -F'|' -v version="$version" '
        BEGIN {
            print "{\"bomFormat\": \"CycloneDX\", \"specVersion\": \"1.5\", \"version\": 1,"
            print " \"metadata\": {\"component\": {\"type\": \"application\", \"name\": \"rsttrace\", \"version\": \"" version "\"}},"
            printf " \"components\": ["
        }
        $3 == "" { print $1 " has no license expression in its Cargo.toml" >"/dev/stderr"; exit missing = 1 }
        {
            gsub(/ *\/ */, " OR ", $3)
            gsub(/  +/, " ", $3)
            printf "%s\n  {\"type\": \"library\", \"name\": \"%s\", \"version\": \"%s\", \"purl\": \"pkg:cargo/%s@%s\", \"licenses\": [{\"expression\": \"%s\"}]}", separator, $1, $2, $1, $2, $3
            separator = ","
        }
        END { if (missing) exit 1; print "\n ]}" }' >"$out/rsttrace.cdx.json"

cd "$out"
ls -l
sha256sum rsttrace* | tee "$stage/sums"
cp "$stage/sums" SHA256SUMS
