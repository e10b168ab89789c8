//! Workflows (spec of the artifacts, §10; spec of the workflows, §1 and §2).

use std::fmt;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{Breed, Health, HealthCheck, Metadata, OrReference, Scale, ServiceInstance};

/// What runs beside the deployments, to watch and to act.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// Unique among workflows, and no deployment's name.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// What is run.
    pub breed: OrReference<Breed>,
    /// When it is run.
    pub schedule: Schedule,
    /// What is wanted of it, and how far it is.
    pub status: WorkflowStatus,
    /// `None`: the configured default.
    pub scale: Option<OrReference<Scale>>,
    /// Values for the breed's variables.
    pub environment_variables: IndexMap<String, Option<String>>,
    /// Driver arguments, in order.
    pub arguments: Vec<(String, String)>,
    /// Container network.
    pub network: Option<String>,
    /// `None`: not given, the breed's hold.
    pub health_checks: Option<Vec<HealthCheck>>,
    /// Driver to anything.
    pub dialects: Map<String, Value>,
    /// What runs of it. Kept in storage and printed; passed over in what clients send.
    pub instances: Vec<ServiceInstance>,
    /// As `instances`; `None`: not known.
    pub health: Option<Health>,
}

/// When a workflow is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// All the time.
    Daemon,
    /// Once for each event that has all of these tags; at least one.
    Event(Vec<String>),
    /// Again and again.
    Time(TimeSchedule),
}

/// When a workflow of the time is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSchedule {
    /// Time from one run to the next.
    pub period: Period,
    /// How many runs; `None`: without end.
    pub repeat: Option<u32>,
    /// First run; `None`: now.
    pub start: Option<Start>,
}

/// When the first run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As soon as it is known.
    Now,
    /// Milliseconds since the Unix epoch.
    AtMs(i64),
}

/// A period of the calendar and of the clock, longer than nothing: a month is not a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub(crate) years: u32,
    pub(crate) months: u32,
    pub(crate) days: u32,
    pub(crate) seconds: u64,
}

impl Period {
    /// One second, which is what Vamp takes an empty text for.
    pub const SECOND: Self = Self {
        years: 0,
        months: 0,
        days: 0,
        seconds: 1,
    };

    /// A period of these parts; `None` if all are 0.
    pub fn new(years: u32, months: u32, days: u32, seconds: u64) -> Option<Self> {
        (years > 0 || months > 0 || days > 0 || seconds > 0).then_some(Self {
            years,
            months,
            days,
            seconds,
        })
    }

    /// Years of the calendar.
    pub const fn years(self) -> u32 {
        self.years
    }

    /// Months of the calendar.
    pub const fn months(self) -> u32 {
        self.months
    }

    /// Days of the calendar, weeks included.
    pub const fn days(self) -> u32 {
        self.days
    }

    /// Seconds of the clock; hours and minutes included.
    pub const fn seconds(self) -> u64 {
        self.seconds
    }
}

/// ISO 8601: `P1Y2M3DT4H5M6S`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        let date = [(self.years, 'Y'), (self.months, 'M'), (self.days, 'D')];
        for (number, unit) in date.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        if self.seconds > 0 {
            f.write_str("T")?;
        }
        let time = [
            (self.seconds / 3600, 'H'),
            (self.seconds / 60 % 60, 'M'),
            (self.seconds % 60, 'S'),
        ];
        for (number, unit) in time.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        Ok(())
    }
}

/// What is wanted of a workflow, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WorkflowStatus {
    /// To be run.
    #[default]
    Starting,
    /// Runs.
    Running,
    /// To be taken away.
    Stopping,
    /// Does not run, and stays.
    Suspended,
    /// To be suspended.
    Suspending,
    /// To be stopped and run again.
    Restarting,
}

impl WorkflowStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Suspended,
        Self::Suspending,
        Self::Restarting,
    ];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Suspended => "suspended",
            Self::Suspending => "suspending",
            Self::Restarting => "restarting",
        }
    }

    /// The status of a word in any letter case.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.trim();
        Self::ALL
            .into_iter()
            .find(|status| status.word().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for WorkflowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
