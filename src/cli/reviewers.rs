//! `postern reviewers`: the age recipients new recordings are encrypted to. What was recorded before stays as it is.
//!
//! Recipients are public; the identities that open recordings are made by `postern keygen` and never come near a bastion.

use std::collections::BTreeSet;
use std::process::ExitCode;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::args::Invocation;
use super::client::shaped;
use super::exit::{CliError, Outcome};
use super::out;
use crate::recording::parse_recipients;

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewersCommand {
    /// The recipients of new recordings.
    List,
    Set(SetArgs),
}

/// Replace the recipients of new recordings.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// age recipients, from `postern keygen`.
    #[arg(required = true, value_name = "AGE1…")]
    recipients: Vec<String>,
}

#[derive(Deserialize)]
struct Reviewers {
    recipients: BTreeSet<String>,
}

/// Runs one of them.
pub(crate) async fn run(command: ReviewersCommand, run: &Invocation) -> Outcome {
    let value = match command {
        ReviewersCommand::List => run.connect().await?.get("/reviewers").await?,
        ReviewersCommand::Set(SetArgs { recipients }) => {
            parse_recipients(&recipients).map_err(CliError::usage)?;
            let body = json!({ "recipients": recipients });
            run.connect().await?.call(Method::PUT, "/reviewers", Some(&body)).await?
        }
    };
    if run.json {
        out::json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = out::Table::new(
        &["recipient"],
        "No reviewers: sessions cannot be recorded, so none can start. 'postern keygen' makes one's identity.",
    );
    shaped::<Reviewers>(value)?.recipients.iter().for_each(|recipient| table.row([recipient]));
    table.print();
    Ok(ExitCode::SUCCESS)
}
