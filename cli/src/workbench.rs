//! The workbench: what `serve` shows in a browser.

// What serves the page will use it. Until then, only its tests do.
#[cfg_attr(not(test), expect(dead_code))]
pub(crate) mod charts;
