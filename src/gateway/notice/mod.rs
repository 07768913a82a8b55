//! The expiry notice on pages of backends: which answers get the script, and how it gets into them.
//!
//! What the script does and says is the portal's matter. Invariants: nothing but a page that somebody loads is
//! changed, and nothing of it is lost or held for long; a policy of the page is loosened for our own script and
//! for what it asks, and no further. In a program without the feature `html-rewrite` no answer is changed.

#[cfg(not(feature = "html-rewrite"))]
mod absent;
#[cfg(feature = "html-rewrite")]
mod body;
#[cfg(feature = "html-rewrite")]
mod entity_tag;
#[cfg(feature = "html-rewrite")]
mod page;
#[cfg(feature = "html-rewrite")]
mod policy;
#[cfg(feature = "html-rewrite")]
mod refusal;
#[cfg(feature = "html-rewrite")]
mod splice;

#[cfg(not(feature = "html-rewrite"))]
pub(super) use absent::Notice;
#[cfg(feature = "html-rewrite")]
pub(super) use page::Notice;
