//! The command line as one definition: parsing, help, completions and man pages all come from here.
//!
//! Each subcommand's own arguments stand in the file of its family; this one lists the families, holds the options
//! that every command has, and calls the right function. `run` is where a process begins and ends.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::client::{Client, Place};
use super::exit::{CliError, Outcome};
use super::profile::Profile;
use super::{
    completions, demo, doctor, export, grants, init, keygen, keys, ledger, login, out, people, play, policy,
    recordings, requests, reviewers, search, serve, sessions, ssh_config, status, targets, verify, watch,
    witness,
};
use crate::model::Clock;

/// A privileged-session recording bastion: approved, recorded, revocable access to servers.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Shared {
    /// The bastion's directory, on its own machine: act as the machine's operator instead of logging in.
    #[arg(
        long,
        global = true,
        value_name = "DIRECTORY",
        env = "POSTERN_DIR",
        help_heading = "Which bastion"
    )]
    dir: Option<PathBuf>,
    /// The bastion's API, instead of the one logged in to.
    #[arg(long, global = true, value_name = "URL", env = "POSTERN_SERVER", help_heading = "Which bastion")]
    server: Option<String>,
    /// Where the login is kept.
    #[arg(long, global = true, value_name = "FILE", env = "POSTERN_CONFIG", help_heading = "Which bastion")]
    config: Option<PathBuf>,
    /// Print JSON instead of tables and sentences.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Init(init::InitArgs),
    Serve(serve::ServeArgs),
    Doctor(doctor::DoctorArgs),
    /// How the bastion is, and how to reach it.
    Status,
    Login(login::LoginArgs),
    /// Forget the login.
    Logout,
    /// Who you are to the bastion.
    Whoami,
    SshConfig(ssh_config::SshConfigArgs),
    /// Who may act: enrol, link keys, change roles, disable.
    #[command(subcommand)]
    People(people::PeopleCommand),
    /// Who can read new recordings.
    #[command(subcommand)]
    Reviewers(reviewers::ReviewersCommand),
    /// What can be reached: register, trust, test, remove.
    #[command(subcommand)]
    Targets(targets::TargetsCommand),
    Request(requests::RequestArgs),
    Requests(requests::RequestsArgs),
    Approve(requests::ApproveArgs),
    Deny(requests::DenyArgs),
    Withdraw(requests::WithdrawArgs),
    Grants(grants::GrantsArgs),
    Revoke(grants::RevokeArgs),
    Sessions(sessions::SessionsArgs),
    Watch(watch::WatchArgs),
    Terminate(sessions::TerminateArgs),
    Receipt(sessions::ReceiptArgs),
    Recordings(recordings::RecordingsArgs),
    Play(play::PlayArgs),
    Export(export::ExportArgs),
    Verify(verify::VerifyArgs),
    Search(search::SearchArgs),
    Keygen(keygen::KeygenArgs),
    /// The bastion's own keys: show, replace, seal anew.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// The record of everything that changed: read, verify, prove, copy.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// The rules: check them, test them, ask them.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// A separate role: vouch for other bastions' ledgers from a machine of its own.
    #[command(subcommand)]
    Witness(witness::WitnessCommand),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// One run of a command: where the bastion is, how to print, what time it is.
pub(crate) struct Invocation {
    pub(crate) place: Place,
    pub(crate) json: bool,
    pub(crate) clock: Clock,
}

impl Invocation {
    /// The way to the bastion.
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        Client::connect(&self.place).await
    }

    /// The bastion's directory, for what is done to its files.
    pub(crate) fn directory(&self) -> Result<&PathBuf, CliError> {
        self.place.directory.as_ref().ok_or_else(|| {
            CliError::usage("this is done on the bastion's own machine")
                .hint("give its directory with --dir DIRECTORY (or POSTERN_DIR)")
        })
    }

    /// Where this person's Postern files are: beside the login.
    pub(crate) fn configuration_directory(&self) -> PathBuf {
        self.place.profile.parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// Parses the command line, runs the command, and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a closed pipe is nobody to tell.
            error.print().ok();
            return if error.use_stderr() { CliError::usage("").code() } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = CliError::failed(format!("this machine gives no threads: {error}"));
            out::error(&error);
            return error.code();
        }
    };
    let ended = runtime.block_on(Box::pin(dispatch(cli))).unwrap_or_else(|error| {
        out::error(&error);
        error.code()
    });
    // What still runs in the background of a command that is over is not waited for.
    runtime.shutdown_background();
    ended
}

/// A command at work. Boxed, so that no command's state weighs on the others'.
type Doing<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

async fn dispatch(Cli { shared, command }: Cli) -> Outcome {
    let place = Place {
        directory: shared.dir,
        server: shared.server,
        profile: shared.config.unwrap_or_else(Profile::default_path),
    };
    let run = Invocation { place, json: shared.json, clock: Clock::system() };
    let run = &run;
    let doing: Doing<'_> = match command {
        Command::Demo(args) => Box::pin(async move { demo::run(&args, run).await }),
        Command::Init(args) => Box::pin(init::run(args, run)),
        Command::Serve(args) => Box::pin(serve::run(args, run)),
        Command::Doctor(args) => Box::pin(async move { doctor::run(&args, run).await }),
        Command::Status => Box::pin(status::run(run)),
        Command::Login(args) => Box::pin(login::run(args, run)),
        Command::Logout => Box::pin(login::logout(run)),
        Command::Whoami => Box::pin(login::whoami(run)),
        Command::SshConfig(args) => Box::pin(async move { ssh_config::run(&args, run).await }),
        Command::People(command) => Box::pin(people::run(command, run)),
        Command::Reviewers(command) => Box::pin(reviewers::run(command, run)),
        Command::Targets(command) => Box::pin(targets::run(command, run)),
        Command::Request(args) => Box::pin(requests::make(args, run)),
        Command::Requests(args) => Box::pin(async move { requests::list(&args, run).await }),
        Command::Approve(args) => Box::pin(async move { requests::approve(&args, run).await }),
        Command::Deny(args) => Box::pin(async move { requests::deny(&args, run).await }),
        Command::Withdraw(args) => Box::pin(async move { requests::withdraw(&args, run).await }),
        Command::Grants(args) => Box::pin(async move { grants::list(&args, run).await }),
        Command::Revoke(args) => Box::pin(async move { grants::revoke(&args, run).await }),
        Command::Sessions(args) => Box::pin(async move { sessions::list(&args, run).await }),
        Command::Watch(args) => Box::pin(watch::run(args, run)),
        Command::Terminate(args) => Box::pin(async move { sessions::terminate(&args, run).await }),
        Command::Receipt(args) => Box::pin(async move { sessions::receipt(&args, run).await }),
        Command::Recordings(args) => Box::pin(recordings::run(args, run)),
        Command::Play(args) => Box::pin(play::run(args, run)),
        Command::Export(args) => Box::pin(export::run(args, run)),
        Command::Verify(args) => Box::pin(verify::run(args, run)),
        Command::Search(args) => Box::pin(search::run(args, run)),
        Command::Keygen(args) => Box::pin(std::future::ready(keygen::run(args, run))),
        Command::Keys(command) => Box::pin(std::future::ready(keys::run(&command, run))),
        Command::Ledger(command) => Box::pin(ledger::run(command, run)),
        Command::Policy(command) => Box::pin(policy::run(command, run)),
        Command::Witness(command) => Box::pin(witness::run(command, run)),
        Command::Completions(args) => Box::pin(std::future::ready(completions::run(&args))),
        Command::Man(args) => Box::pin(std::future::ready(completions::man(&args))),
    };
    doing.await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_says_what_it_does() {
        let root = Cli::command();
        root.clone().debug_assert();
        let mut open = vec![root];
        while let Some(command) = open.pop() {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn commands_parse_as_the_documents_write_them() {
        for line in [
            "init /srv/postern --admin dave --admin-key k.pub --reviewer age1x",
            "--dir /srv/postern people add alice --role operator --key k.pub",
            "targets add web-1 127.0.0.1:22 --host-key host.pub --login deploy --environment prod",
            "request deploy@web-1 --for 1h --reason maintenance --can shell,exec,forward=db:5432 --wait",
            "approve req_abcd --for 30m --yes",
            "revoke grn_a grn_b --reason enough",
            "revoke --person alice --reason enough",
            "sessions --live --json",
            "export ses_x --format asciicast -o x.cast",
            "verify --all",
            "export ses_x --evidence --open -o evidence-of-ses_x",
            "recordings --person olga --target web-1 --json",
            "recordings hold ses_x --reason matter",
            "recordings release ses_x --reason settled",
            "recordings delete ses_x --reason wish",
            "recordings delete ses_x --confirm",
            "recordings delete ses_x --withdraw",
            "play ses_x --speed 2 --at 1:30 --channel 2 --idle-limit 2s --identity i.txt",
            "search password ses_x y.pstn --ignore-case",
            "ledger tail -n 5 --follow",
            "ledger prove 7",
            "witness init /srv/witness --name witness.example/w1",
            "witness serve /srv/witness --listen 0.0.0.0:7380 --tls-cert c.pem --tls-key k.pem",
            "policy explain deploy@web-1",
            "policy explain root@web-1 --person alice",
            "policy explain --person alice --action session:open --login deploy --target web-1 --capability shell",
        ] {
            let words = std::iter::once("postern").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "revoke --reason x",
            "revoke grn_a --all --reason x",
            "revoke grn_a",
            "request web-1 --reason x",
            "verify",
            "export ses_x",
            "export ses_x --evidence",
            "policy explain",
            "policy explain deploy@web-1 --target web-1",
            "targets add web-1 127.0.0.1 --fingerprint SHA256:x",
            "witness serve /srv/witness --tls-cert c.pem",
        ] {
            let words = std::iter::once("postern").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
