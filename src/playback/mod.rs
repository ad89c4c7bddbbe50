//! From events to what a person sees: screens, exports, search.
