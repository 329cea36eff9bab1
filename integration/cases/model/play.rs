//! A script played twice, by sessions with Postgres itself and with the proxy, and what differs.

use std::fmt::{self, Display};
use std::time::Duration;

use super::message::{Message, Script};
use super::session::{Answer, Session};
use crate::harness::frames::Frame;
use crate::harness::login::Login;

/// How the clients of a script take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Each waits for its own answers only.
    Free,
    /// One goes on when the one before has its answers: always in the same order. No more clients than
    /// this are in the middle of anything at once, or they would wait for each other's servers.
    LockStep { holders_max: usize },
}

/// Both sides of the comparison.
pub(super) struct Sides {
    pub(super) direct: Login,
    pub(super) through: Login,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// Where a client's two sessions part.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) client: usize,
    step: Option<usize>,
    expected: String,
    got: String,
    /// What a shorter script must show as well, or it would be another failure.
    pub(super) kind: String,
    /// The same answer came from both before.
    before: Vec<String>,
}

/// What a play came to.
pub(super) enum Outcome {
    Same,
    Different(Box<Difference>),
    /// Postgres itself did not answer: the script is no test.
    Senseless(&'static str),
}

pub(super) async fn play(script: &Script, pace: Pace, sides: &Sides) -> Outcome {
    match pace {
        Pace::Free => play_freely(script, sides).await,
        Pace::LockStep { holders_max } => play_in_turn(script, holders_max, sides).await,
    }
}

/// The last words of each client, whatever state its script has left it in.
fn goodbye(client: usize) -> [Message; 4] {
    [
        Message::Sync,
        Message::Query("rollback".to_owned()),
        Message::Query(format!("select 'client {client} is done'")),
        Message::Wait,
    ]
}

async fn play_freely(script: &Script, sides: &Sides) -> Outcome {
    let mut tasks = tokio::task::JoinSet::new();
    for client in script.clients() {
        let mut steps: Vec<_> = script.steps_of(client).map(|(at, m)| (at, m.clone())).collect();
        steps.extend(goodbye(client).map(|message| (script.0.len(), message)));
        let (direct, through) = (sides.direct.clone(), sides.through.clone());
        let patience = sides.patience;
        tasks.spawn(async move {
            let (expected, got) = tokio::join!(
                perform(&direct, &steps, patience),
                perform(&through, &steps, patience)
            );
            compare(client, &expected, &got)
        });
    }
    let mut outcome = Outcome::Same;
    while let Some(ended) = tasks.join_next().await {
        match ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic())) {
            Outcome::Same => {}
            found => outcome = found,
        }
    }
    outcome
}

/// What came of a client's steps.
struct Performed {
    answers: Vec<Answer>,
    end: Option<&'static str>,
}

async fn perform(login: &Login, steps: &[(usize, Message)], patience: Duration) -> Performed {
    let mut session = match Session::open(login).await {
        Ok(session) => session,
        Err(why) => return Performed { answers: vec![], end: Some(why) },
    };
    for (step, message) in steps {
        if *message == Message::Wait {
            session.settle(patience).await;
        } else {
            session.say(message, *step);
        }
    }
    Performed { answers: session.answers, end: session.end }
}

/// A client with its two sessions.
struct Pair {
    client: usize,
    direct: Session,
    through: Session,
}

impl Pair {
    async fn open(client: usize, sides: &Sides) -> Result<Self, &'static str> {
        let direct = Session::open(&sides.direct).await?;
        let through = Session::open(&sides.through).await?;
        Ok(Self { client, direct, through })
    }

    fn say(&mut self, message: &Message, step: usize) {
        self.direct.say(message, step);
        self.through.say(message, step);
    }

    async fn settle(&mut self, patience: Duration) -> Outcome {
        tokio::join!(self.direct.settle(patience), self.through.settle(patience));
        let (expected, got) = (&mut self.direct, &mut self.through);
        let expected =
            Performed { answers: std::mem::take(&mut expected.answers), end: expected.end };
        let got = Performed { answers: std::mem::take(&mut got.answers), end: got.end };
        compare(self.client, &expected, &got)
    }
}

async fn play_in_turn(script: &Script, holders_max: usize, sides: &Sides) -> Outcome {
    let mut pairs = Vec::new();
    for client in script.clients() {
        match Pair::open(client, sides).await {
            Ok(pair) => pairs.push(pair),
            Err(why) => return Outcome::Senseless(why),
        }
    }
    for (number, step) in script.0.iter().enumerate() {
        let at = pairs.iter().position(|pair| pair.client == step.client).expect("it is open");
        if step.message != Message::Wait {
            pairs[at].say(&step.message, number);
            continue;
        }
        if let found @ (Outcome::Different(_) | Outcome::Senseless(_)) =
            make_room(&mut pairs, at, holders_max, sides.patience).await
        {
            return found;
        }
        let outcome = pairs[at].settle(sides.patience).await;
        if !matches!(outcome, Outcome::Same) {
            return outcome;
        }
    }
    // Those who hold a server first, or the others would wait for it.
    pairs.sort_by_key(|pair| !pair.direct.holds());
    for mut pair in pairs {
        for message in goodbye(pair.client) {
            pair.say(&message, script.0.len());
        }
        let outcome = pair.settle(sides.patience).await;
        if !matches!(outcome, Outcome::Same) {
            return outcome;
        }
    }
    Outcome::Same
}

/// Ends what others are in the middle of, if the client at `at` could not begin anything otherwise.
async fn make_room(pairs: &mut [Pair], at: usize, max: usize, patience: Duration) -> Outcome {
    let holders: Vec<usize> =
        (0..pairs.len()).filter(|&other| other != at && pairs[other].direct.holds()).collect();
    if pairs[at].direct.holds() || holders.len() < max {
        return Outcome::Same;
    }
    let pair = &mut pairs[holders[0]];
    pair.say(&Message::Sync, usize::MAX);
    pair.say(&Message::Query("rollback".to_owned()), usize::MAX);
    pair.settle(patience).await
}

/// Why a script is no test of a proxy that prepares anew.
pub(super) const IN_VAIN: &str = "a statement is made anew in a failed transaction";

/// In a failed transaction Postgres describes a statement, and looks at what a `Bind` brings, before it
/// says that nothing is done. One that has to be made anew there is refused at once, and all behind it.
fn is_made_anew_in_vain(expected: Option<&Frame>, got: Option<&Frame>) -> bool {
    expected.is_some_and(|frame| frame.tag == b't' || frame.tag == b'E' && frame.code() == "08P01")
        && got.is_some_and(|frame| frame.tag == b'E' && frame.code() == "25P02")
}

fn compare(client: usize, expected: &Performed, got: &Performed) -> Outcome {
    if let Some(why @ ("no answer" | "nobody reads" | "the login failed")) = expected.end {
        return Outcome::Senseless(why);
    }
    let count = expected.answers.len().max(got.answers.len());
    let frame = |of: &Performed, at: usize| of.answers.get(at).map(|answer| answer.frame.clone());
    let differs = (0..count).find(|&at| frame(expected, at) != frame(got, at));
    if let Some(at) = differs
        && is_made_anew_in_vain(frame(expected, at).as_ref(), frame(got, at).as_ref())
    {
        return Outcome::Senseless(IN_VAIN);
    }
    if differs.is_none() && expected.end == got.end {
        return Outcome::Same;
    }
    let at = differs.unwrap_or(count);
    let shown = |of: &Performed| match of.answers.get(at) {
        Some(answer) => format!("{} {}", answer.frame.shown(), fields(&answer.frame.body)),
        None => of.end.unwrap_or("nothing").to_owned(),
    };
    let kind = |of: &Performed| match of.answers.get(at) {
        Some(answer) if answer.frame.tag == b'E' => answer.frame.code(),
        Some(answer) => char::from(answer.frame.tag).to_string(),
        None => shown(of),
    };
    let step = [expected, got].iter().find_map(|of| of.answers.get(at)?.step);
    let before = expected.answers[..at].iter().rev().take(5).rev();
    Outcome::Different(Box::new(Difference {
        client,
        step,
        expected: shown(expected),
        got: shown(got),
        kind: format!("{} {}", kind(expected), kind(got)),
        before: before.map(|answer| answer.frame.shown()).collect(),
    }))
}

/// A message's body as far as it is text.
fn fields(body: &[u8]) -> String {
    let text = crate::harness::frames::excerpt(body);
    text.replace("\\x00", " ")
}

impl Difference {
    /// In words, with the message of `script` that was answered differently.
    pub(super) fn told_of(&self, script: &Script) -> String {
        let step = self.step.and_then(|step| script.0.get(step));
        let question = step.map_or_else(|| "its end".to_owned(), |step| step.message.to_string());
        format!("client {}, at {question}: {self}", self.client)
    }
}

impl Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\n  Postgres:  {}\n  the proxy: {}", self.expected, self.got)?;
        write!(formatter, "\n  after {:?}", self.before)
    }
}
