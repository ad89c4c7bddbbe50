//! The only module that speaks SQL; the only way anything changes.
