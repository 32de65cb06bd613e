//! What the documents say, held against what the program knows.

use std::path::Path;

use tidegate::{
    config,
    domain::{ErrorReason, Queue},
    telemetry::names::{self, MetricKind},
};

use crate::source;

#[test]
fn every_metric_is_described_as_it_is() {
    let document = source::read("docs/METRICS.md").text;
    for metric in names::ALL {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        let row = format!("| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
        assert!(document.contains(&row), "docs/METRICS.md lacks the row\n{row}");
    }
    for queue in Queue::ALL {
        assert!(document.contains(&format!("`{}` (", queue.label())), "{}", queue.label());
    }
}

#[test]
fn no_document_names_a_metric_that_does_not_exist() {
    let known = |name: &str| {
        let parts = ["", "_bucket", "_sum", "_count"];
        names::ALL
            .iter()
            .any(|metric| parts.iter().any(|part| *name == format!("{}{part}", metric.name)))
    };
    for path in
        ["docs/METRICS.md", "docs/OPERATIONS.md", "README.md", "config/prometheus/rules.yml"]
    {
        let text = source::read(path).text;
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in words.filter(|word| word.starts_with("tidegate_")) {
            assert!(known(name), "{path} speaks of {name}");
        }
    }
}

#[test]
fn every_reason_has_a_row_in_the_runbook() {
    let runbook = source::read("docs/OPERATIONS.md").text;
    for reason in ErrorReason::ALL {
        let row = format!("\n| `{}` | ", reason.label());
        assert!(runbook.contains(&row), "docs/OPERATIONS.md lacks {}", reason.label());
    }
}

/// The configurations in a document.
fn shown(document: &str) -> impl Iterator<Item = &str> {
    document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn every_configuration_that_is_shown_is_good() {
    let compose = source::read("config/compose/tidegate.toml").text;
    let readme = source::read("README.md").text;
    let guide = source::read("docs/ROLLOUTS.md").text;
    let mirror = source::read("docs/MIRROR.md").text;
    // The first one is whole; what is shown later goes below it.
    let whole = shown(&readme).next().expect("README.md shows a configuration");
    let texts = [
        ("README.md", shown(&readme).collect()),
        ("docs/ROLLOUTS.md", whole.to_owned() + &shown(&guide).collect::<String>()),
        ("docs/MIRROR.md", whole.to_owned() + &shown(&mirror).collect::<String>()),
        ("config/compose/tidegate.toml", compose),
    ];
    for (path, text) in &texts {
        let config =
            config::parse(text, path, &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config::warnings(&config), [], "{path}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for source in source::all_text() {
        if source.path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = source.path.parent().unwrap_or(Path::new(""));
        let from = source.path.display();
        for link in links(&source.text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { source.path.clone() } else { folder.join(file) };
            assert!(target.exists(), "{from} links to {link}");
            if !heading.is_empty() {
                let text = source::read(target.to_str().expect("a plain path")).text;
                assert!(headings(&text).any(|known| known == heading), "{from} links to {link}");
            }
        }
    }
}

#[test]
fn every_test_that_is_named_beside_a_section_is_there() {
    let document = source::read("docs/TESTING.md").text;
    let rows = document.lines().filter(|line| line.starts_with("| 911"));
    let named: Vec<_> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter_map(|name| name.rsplit_once("::"))
        .collect();
    assert!(named.len() > 50, "the table has gone: {named:?}");
    for (file, name) in named {
        let file = match file.strip_prefix("process::") {
            Some(file) => format!("tests/process/{file}.rs"),
            None => format!("tests/wire/{file}.rs"),
        };
        let has = source::read(&file).text.contains(&format!("#[test]\nfn {name}() {{"));
        assert!(has, "docs/TESTING.md names {name}, which is no test of {file}");
    }
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

/// Headings as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn links_and_headings_are_found() {
    let text = "# A b\n[x](y.md) and [z](#a-b)\n## When it's: c?";
    assert_eq!(links(text).collect::<Vec<_>>(), ["y.md", "#a-b"]);
    assert_eq!(headings(text).collect::<Vec<_>>(), ["a-b", "when-its-c"]);
}
