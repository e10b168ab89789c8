//! Workflows (spec of the artifacts, §10; spec of the workflows, §1 and §2).

use indexmap::IndexMap;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    breed,
    common::{self, dialects, health_checks, kind, metadata, strict_key_name, text, variables},
    cursor::{Cursor, Table},
    deployment, scale,
};
use crate::{
    OrReference, Period, Schedule, Start, TimeSchedule, Workflow, WorkflowStatus, check, problem::shown,
};

/// A workflow. What is printed only (`instances`, `health`) is kept when it comes from storage.
pub(super) fn workflow(mut table: Table<'_>) -> Option<Workflow> {
    kind(&mut table, "workflow");
    let name = common::name(&mut table);
    let metadata = metadata(&mut table);
    let breed = table.require("breed").map(|cursor| breed::or_reference(&cursor));
    let schedule = match table.take("schedule") {
        Some(cursor) => schedule(&cursor),
        None => {
            let at = table.cursor.under("schedule");
            at.problem_with(UNDEFINED, "there is no schedule", SCHEDULES);
            None
        }
    };
    let status = match table.take("status") {
        Some(cursor) => status(&cursor),
        None => Some(WorkflowStatus::default()),
    };
    let scale = table
        .take("scale")
        .and_then(|cursor| scale::or_reference(&cursor));
    let environment_variables: IndexMap<_, _> = variables(&mut table, |map, key| {
        strict_key_name(map, key, key);
        key.to_owned()
    });
    let arguments = common::arguments(&mut table);
    let network = text(&mut table, "network");
    let health_checks = health_checks(&mut table);
    let dialects = dialects(&mut table);
    let (mut instances, mut health) = (Vec::new(), None);
    if table.cursor.is_unchecked() {
        if let Some(cursor) = table.take("instances") {
            instances = deployment::instances(&cursor);
        }
        health = table.take("health").map(|cursor| deployment::health(&cursor));
    } else {
        table.ignore(&["instances", "health"]);
    }
    let cursor = table.cursor.clone();
    table.finish();
    let workflow = Workflow {
        name,
        metadata,
        breed: breed.unwrap_or_else(|| OrReference::Reference(String::new())),
        schedule: schedule.unwrap_or(Schedule::Daemon),
        status: status.unwrap_or_default(),
        scale,
        environment_variables,
        arguments,
        network,
        health_checks,
        dialects,
        instances,
        health,
    };
    cursor.check(|| check::workflow_issues(&workflow));
    Some(workflow)
}

const UNDEFINED: &str = "UndefinedWorkflowScheduleError";
const SCHEDULES: &str = "`daemon`, `{event: TAGS}` or `{time: PERIOD}` with a period such as PT5M or P1D";

/// A status alone, as the body of a request.
pub(super) fn status(cursor: &Cursor<'_>) -> Option<WorkflowStatus> {
    let word = cursor.text()?;
    let status = WorkflowStatus::from_word(word);
    if status.is_none() {
        cursor.problem_with(
            "IllegalWorkflowStatus",
            format!("`{}` is not a status of a workflow", shown(word)),
            WorkflowStatus::ALL.map(WorkflowStatus::word).join(", "),
        );
    }
    status
}

fn schedule(cursor: &Cursor<'_>) -> Option<Schedule> {
    if let Some(scalar) = cursor.scalar() {
        if scalar.text.eq_ignore_ascii_case("daemon") {
            return Some(Schedule::Daemon);
        }
        let message = format!("`{}` is not a schedule", shown(&scalar.text));
        cursor.problem_with(UNDEFINED, message, SCHEDULES);
        return None;
    }
    if !cursor.has("event") && !cursor.has("time") {
        cursor.problem_with(UNDEFINED, "this is not a schedule", SCHEDULES);
        return None;
    }
    let mut table = cursor.table()?;
    let schedule = match table.take("event") {
        Some(event) => tags(&event).map(Schedule::Event),
        None => table
            .take("time")
            .and_then(|time| self::time(&time))
            .map(Schedule::Time),
    };
    table.finish();
    schedule
}

/// A tag, a list of tags, or `{tags: ...}` of these.
fn tags(cursor: &Cursor<'_>) -> Option<Vec<String>> {
    if cursor.is_map() {
        let mut table = cursor.table()?;
        let inner = table.require("tags");
        table.finish();
        return tags(&inner?);
    }
    let tags: Option<Vec<String>> = cursor
        .items_or_self()
        .iter()
        .map(|item| item.text().map(str::to_owned))
        .collect();
    if tags.as_ref().is_some_and(Vec::is_empty) {
        cursor.problem_with(UNDEFINED, "there is no tag to wait for", SCHEDULES);
        return None;
    }
    tags
}

/// A period, or `{period, repeat, start}`.
fn time(cursor: &Cursor<'_>) -> Option<TimeSchedule> {
    if !cursor.is_map() {
        return Some(TimeSchedule {
            period: period(cursor)?,
            repeat: None,
            start: None,
        });
    }
    let mut table = cursor.table()?;
    let period = table.require("period").and_then(|cursor| period(&cursor));
    let repeat = table.take("repeat").map(|cursor| cursor.count());
    let start = table.take("start").map(|cursor| start(&cursor));
    table.finish();
    Some(TimeSchedule {
        period: period?,
        repeat: repeat.map_or(Some(None), |count| count.map(Some))?,
        start: start.map_or(Some(None), |start| start.map(Some))?,
    })
}

fn period(cursor: &Cursor<'_>) -> Option<Period> {
    let text = cursor.text()?;
    let period = period_of(text);
    if period.is_none() {
        cursor.problem_with(
            "IllegalWorkflowSchedulePeriod",
            format!("`{}` is not a period", shown(text)),
            "ISO 8601, longer than nothing: P1D, PT5M, P1Y2M3DT4H5M6S",
        );
    }
    period
}

/// `P[nY][nM][nW][nD][T[nH][nM][nS]]` in any letter case; without any part it is a second (Vamp's rule).
pub(crate) fn period_of(text: &str) -> Option<Period> {
    let text = text.trim().to_ascii_uppercase();
    if text.is_empty() {
        return Some(Period::SECOND);
    }
    let rest = text.strip_prefix('P')?;
    let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
    if date.is_empty() && time.is_empty() {
        return Some(Period::SECOND);
    }
    let [years, months, weeks, days] = parts(date, ['Y', 'M', 'W', 'D'])?;
    let [hours, minutes, seconds] = parts(time, ['H', 'M', 'S'])?;
    let days = weeks.checked_mul(7)?.checked_add(days)?;
    let seconds = hours
        .checked_mul(3600)?
        .checked_add(minutes.checked_mul(60)?)?
        .checked_add(seconds)?;
    let small = |number: u64| u32::try_from(number).ok();
    Period::new(small(years)?, small(months)?, small(days)?, seconds)
}

/// Numbers by the units behind them, in the order of the units; each may be absent.
fn parts<const N: usize>(text: &str, units: [char; N]) -> Option<[u64; N]> {
    let mut rest = text;
    let mut found = [0; N];
    for (unit, found) in units.into_iter().zip(&mut found) {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        if let Some(after) = after.strip_prefix(unit) {
            *found = number.parse().ok()?;
            rest = after;
        }
    }
    rest.is_empty().then_some(found)
}

fn start(cursor: &Cursor<'_>) -> Option<Start> {
    cursor.unit(|text| {
        if text.eq_ignore_ascii_case("now") {
            return Ok(Start::Now);
        }
        moment(text)
            .map(|moment| Start::AtMs(moment.as_millisecond()))
            .ok_or_else(|| "`now`, or an ISO 8601 date with offset such as `2017-05-01T02:00:00Z`".to_owned())
    })
}

/// A date with time and offset, or a date alone: midnight of UTC, as YAML says.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let is_date = text.len() == "2017-05-01".len();
    let date: Date = is_date.then(|| text.parse().ok())??;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}
