//! The control plane over HTTP: one route table drives routing, authorisation, documents and tests.
