//! Pages for answers of Tidegate's own.

use std::{collections::HashMap, path::PathBuf};

use bytes::Bytes;
use http::HeaderValue;

use crate::config::model::{ErrorPage, StatusPattern};

/// All pages, the most exact first.
#[derive(Debug, Default)]
pub struct ErrorPages(Vec<(StatusPattern, Page)>);

/// A page as clients get it.
#[derive(Debug, Clone)]
pub struct Page {
    /// By the ending of its file.
    pub content_type: HeaderValue,
    /// What the file held when the configuration was read.
    pub text: Bytes,
}

impl ErrorPages {
    /// The pages of `configured`, whose files hold what `files` says.
    pub(super) fn new(configured: &[ErrorPage], files: &HashMap<PathBuf, Bytes>) -> Self {
        let page = |page: &ErrorPage| {
            let text = files.get(&page.file)?.clone();
            let ending = page.file.extension().and_then(|ending| ending.to_str());
            let content_type = HeaderValue::from_static(match ending {
                Some("html" | "htm") => "text/html; charset=utf-8",
                Some("json") => "application/json",
                Some("xml") => "application/xml",
                Some(_) | None => "text/plain; charset=utf-8",
            });
            Some((page.status, Page { content_type, text }))
        };
        Self(configured.iter().filter_map(page).collect())
    }

    /// The page for `status`.
    pub fn find(&self, status: u16) -> Option<&Page> {
        self.0.iter().find(|(pattern, _)| pattern.fits(status)).map(|(_, page)| page)
    }
}
