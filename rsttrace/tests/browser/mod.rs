//! A real browser, told what to do over a pair of pipes (Chrome's DevTools protocol). Needs Debian's package chromium.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    number: u64,
    /// Events that came while something else was waited for.
    events: VecDeque<Value>,
    _folder: TempDir,
}

impl Browser {
    /// Starts one without a window.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        for pipe in [&to, &from] {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        // The browser reads from descriptor 3 and writes to 4.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars \
            --no-first-run --disable-extensions --disable-background-networking --disable-sync \
            --user-data-dir=\"$3\" --remote-debugging-pipe about:blank 3<\"$1\" 4>\"$2\"";
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&to, &from, &folder.path().join("profile")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = File::options().write(true).open(to).unwrap();
        let mut read = BufReader::new(File::open(from).unwrap());
        let (give, from) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while read
                .read_until(0, &mut message)
                .is_ok_and(|length| length > 0)
            {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else {
                    return;
                };
                if give.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            number: 0,
            events: VecDeque::new(),
            _folder: folder,
        };
        let made = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.setLifecycleEventsEnabled", json!({"enabled": true}));
        browser
    }

    /// Asks for something, and gives the answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        let number = self.number;
        loop {
            let message = self.next(method);
            if message["id"] == number {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn next(&self, wanted: &str) -> Value {
        self.from
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("chromium, {wanted}: {error}; apt-get install chromium"))
    }

    /// Shows a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        let address = format!("file://{}", file.display());
        let loader = self.call("Page.navigate", json!({"url": address}))["loaderId"].clone();
        let is_load =
            |it: &Value| it["params"]["name"] == "load" && it["params"]["loaderId"] == loader;
        let begun = Instant::now();
        while !self.events.iter().any(is_load) {
            assert!(begun.elapsed() < PATIENCE, "the page is not loaded");
            let message = self.next("load");
            self.events.push_back(message);
        }
    }

    /// What an expression of the page's own language gives.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Sets the size of the window and, for a medium, what the page thinks it is.
    pub fn look(&mut self, width: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Addresses that were asked for, and complaints of the page.
    pub fn trouble(&self) -> (Vec<String>, Vec<String>) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let requests = self
            .events
            .iter()
            .filter(|it| it["method"] == "Network.requestWillBeSent")
            .map(|it| text(&it["params"]["request"]["url"]))
            .collect();
        let complaints = self
            .events
            .iter()
            .filter(|it| match it["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Log.entryAdded") => true,
                Some("Runtime.consoleAPICalled") => it["params"]["type"] != "log",
                _ => false,
            })
            .map(ToString::to_string)
            .collect();
        (requests, complaints)
    }

    /// A part of the page, from `top` on, as a picture: PNG.
    pub fn picture(&mut self, top: u64, width: u32, height: u64) -> Vec<u8> {
        let clip = json!({"x": 0, "y": top, "width": width, "height": height, "scale": 1});
        let parameters = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let answer = self.call("Page.captureScreenshot", parameters);
        bytes(answer["data"].as_str().unwrap())
    }

    /// The page on paper: PDF.
    pub fn paper(&mut self) -> Vec<u8> {
        let parameters = json!({"preferCSSPageSize": true, "paperWidth": 8.27, "paperHeight": 11.69,
            "printBackground": false});
        let answer = self.call("Page.printToPDF", parameters);
        bytes(answer["data"].as_str().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Base64, as the browser writes it.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.as_bytes().chunks(4) {
        let digits = four.iter().filter_map(|byte| match byte {
            b'A'..=b'Z' => Some(byte - b'A'),
            b'a'..=b'z' => Some(byte - b'a' + 26),
            b'0'..=b'9' => Some(byte - b'0' + 52),
            b'+' => Some(62),
            b'/' => Some(63),
            _ => None,
        });
        let digits: Vec<u32> = digits.map(u32::from).collect();
        let all = digits.iter().fold(0, |sum, digit| sum << 6 | digit) << (6 * (4 - digits.len()));
        out.extend(&all.to_be_bytes()[1..digits.len()]);
    }
    out
}
