//! Logs and metrics: where they go, and what never gets into them.
//!
//! Logs are structured: values are fields, and the fields are ids, names, addresses, reasons and counts. Session
//! content, credentials, tokens and key material are never logged at any level. Text that came from a peer is escaped
//! by the formatter, so a log line cannot carry terminal controls.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Seconds, for everything that measures how long a cut or a commit took.
const SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0];

/// The telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry cannot be set up: {0}")]
pub struct TelemetryError(String);

/// Starts logging to standard error: text for a terminal, JSON lines otherwise. `POSTERN_LOG` sets the level.
///
/// # Errors
/// When a logger is set already.
pub fn start_logs() -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_from_env("POSTERN_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,russh=warn,object_store=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome =
        if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
    outcome.map_err(|error| TelemetryError(error.to_string()))
}

/// Starts counting; the handle renders the Prometheus text format.
///
/// # Errors
/// When a recorder of metrics is set already.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| TelemetryError(error.to_string()))
}
