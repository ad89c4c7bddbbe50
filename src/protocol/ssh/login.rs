//! The conversation between the SSH library's loop, which hears the client, and the adapter, which speaks for the
//! lifecycle, until the client is in or out.
//!
//! The library calls back into [`Doorbell`] and waits; the lifecycle holds the [`Porch`]. Each side has one slot, so
//! neither can run ahead. A doorbell whose porch is gone says no.

use russh::server::Auth;
use russh::{MethodKind, MethodSet};
use tokio::sync::mpsc;

use crate::model::{Login, TargetName};
use crate::session::adapter::{Authenticated, Greeted, Page, Reply, Tap};
use crate::wire::ssh::address::{self, Address};

/// What the client's side reports.
pub(super) enum Knock {
    /// A proven person wants to carry other connections.
    Carrier,
    /// A proven person wants a target.
    Proved(Box<Greeted>),
    /// An answer to a page.
    Reply(Reply),
}

/// What the lifecycle answers.
pub(super) enum Answer {
    /// In: everything from now on goes through the tap.
    Accept(Box<Tap>),
    /// One more page.
    Converse(Page),
    /// Out, with these words.
    Refuse(String),
}

/// The lifecycle's end.
pub(super) struct Porch {
    pub(super) knocks: mpsc::Receiver<Knock>,
    pub(super) answers: mpsc::Sender<Answer>,
}

/// The client's end.
pub(super) struct Doorbell {
    knocks: mpsc::Sender<Knock>,
    answers: mpsc::Receiver<Answer>,
    progress: Progress,
}

/// Where the login stands.
enum Progress {
    /// Nobody has proved anything.
    Nobody,
    /// Somebody has, under this user name, and a page waits to be shown.
    Page { user: String, page: Page },
    /// The page is shown, and its answer is waited for.
    Shown { user: String },
    /// Only these last words are left.
    Farewell { user: String, words: String, is_shown: bool },
}

/// What a user name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `LOGIN@TARGET`, or a login where the carrier has said the target.
    Target(Login, TargetName),
    /// A plain name: this connection carries others.
    Carrier,
    /// Neither.
    Nonsense,
}

/// The two ends of one login.
pub(super) fn pair() -> (Doorbell, Porch) {
    let (knock, knocks) = mpsc::channel(1);
    let (answer, answers) = mpsc::channel(1);
    (Doorbell { knocks: knock, answers, progress: Progress::Nobody }, Porch { knocks, answers: answer })
}

/// Reads a user name; `carried_to` is the target a carrier has already named.
pub(super) fn wanted(user: &str, carried_to: Option<&TargetName>) -> Wanted {
    let Ok(Address { login, target }) = address::parse(user) else { return Wanted::Nonsense };
    let target = match (target, carried_to) {
        (Some(target), None) => target.parse().ok(),
        (None, Some(target)) => Some(target.clone()),
        (Some(named), Some(target)) if named == target.as_str() => Some(target.clone()),
        (Some(_), Some(_)) => return Wanted::Nonsense,
        (None, None) => return Wanted::Carrier,
    };
    match (login.parse(), target) {
        (Ok(login), Some(target)) => Wanted::Target(login, target),
        _ => Wanted::Nonsense,
    }
}

impl Doorbell {
    /// A proven person wants to carry connections.
    pub(super) async fn carrier(&mut self) -> bool {
        self.knocks.send(Knock::Carrier).await.is_ok()
    }

    /// Only last words are left for this client: it hears them in the dialogue, if it has one.
    pub(super) fn farewell(&mut self, user: &str, words: String) -> Auth {
        self.progress = Progress::Farewell { user: user.to_owned(), words, is_shown: false };
        dialogue()
    }

    /// A proven person wants a target; `Ok` when they are in.
    pub(super) async fn proved(
        &mut self,
        user: &str,
        who: Authenticated,
        login: Login,
        target: TargetName,
    ) -> Result<Box<Tap>, Auth> {
        let greeted = Greeted { who, login, target };
        self.ring(user, Knock::Proved(Box::new(greeted))).await
    }

    /// One turn of the dialogue: shows what there is to show, or carries an answer to the lifecycle.
    pub(super) async fn turn(&mut self, user: &str, answer: Option<String>) -> Result<Box<Tap>, Auth> {
        match (std::mem::replace(&mut self.progress, Progress::Nobody), answer) {
            (Progress::Page { user: proven, page }, None) if proven == user => {
                self.progress = Progress::Shown { user: proven };
                Err(show(&page))
            }
            (Progress::Shown { user: proven }, Some(answer)) if proven == user => {
                match self.ring(user, Knock::Reply(Reply::Answer(answer))).await {
                    Err(Auth::Reject { .. }) => self.show_next(),
                    other => other,
                }
            }
            (Progress::Farewell { user: proven, words, is_shown: false }, None) if proven == user => {
                self.progress = Progress::Farewell { user: proven, words: words.clone(), is_shown: true };
                Err(show(&Page { text: words, question: None }))
            }
            // Another user name, an answer to nothing, or the end: whatever was proved is forgotten.
            _ => Err(Auth::reject()),
        }
    }

    async fn ring(&mut self, user: &str, knock: Knock) -> Result<Box<Tap>, Auth> {
        let user = user.to_owned();
        if self.knocks.send(knock).await.is_err() {
            return Err(Auth::reject());
        }
        match self.answers.recv().await {
            Some(Answer::Accept(tap)) => return Ok(tap),
            Some(Answer::Converse(page)) => self.progress = Progress::Page { user, page },
            Some(Answer::Refuse(words)) => return Err(self.farewell(&user, words)),
            None => return Err(Auth::reject()),
        }
        Err(dialogue())
    }

    /// Inside a dialogue the next page follows at once.
    fn show_next(&mut self) -> Result<Box<Tap>, Auth> {
        match std::mem::replace(&mut self.progress, Progress::Nobody) {
            Progress::Page { user, page } => {
                self.progress = Progress::Shown { user };
                Err(show(&page))
            }
            Progress::Farewell { user, words, .. } => {
                self.progress = Progress::Farewell { user, words: words.clone(), is_shown: true };
                Err(show(&Page { text: words, question: None }))
            }
            Progress::Nobody | Progress::Shown { .. } => Err(Auth::reject()),
        }
    }
}

/// "Your key is good; go on with keyboard-interactive."
fn dialogue() -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from(&[MethodKind::KeyboardInteractive][..])),
        partial_success: true,
    }
}

fn show(page: &Page) -> Auth {
    let prompts = page.question.iter().map(|question| (question.clone().into(), true)).collect::<Vec<_>>();
    Auth::Partial { name: "".into(), instructions: page.text.clone().into(), prompts: prompts.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_say_what_is_wanted() {
        let web: TargetName = "web-1".parse().unwrap();
        let target = |login: &str| Wanted::Target(login.parse().unwrap(), web.clone());
        assert_eq!(wanted("deploy@web-1", None), target("deploy"));
        assert_eq!(wanted("deploy+web-1", None), target("deploy"));
        assert_eq!(wanted("alice", None), Wanted::Carrier);
        assert_eq!(wanted("deploy", Some(&web)), target("deploy"));
        assert_eq!(wanted("deploy@web-1", Some(&web)), target("deploy"));
        assert_eq!(wanted("deploy@other", Some(&web)), Wanted::Nonsense);
        for bad in ["@", "deploy@", "@web-1", "a b@web-1", "deploy@web-1\n", "Deploy@web-1", "a@b@c"] {
            assert_eq!(wanted(bad, None), Wanted::Nonsense, "{bad:?}");
        }
    }
}
