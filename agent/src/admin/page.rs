//! The statistics as a page for browsers, as users of HAProxy expect it: no script, read anew every five seconds.

use std::fmt::{self, Display, Write as _};

use serde_json::Value;
use weir_model::EndpointState;

use super::statistics::{Figures, GatewayView, RouteView, Statistics};

/// Most gateways on one page; `?gateway=TEXT` shows those whose names have it.
const GATEWAYS_MAX: usize = 200;

const STYLE: &str = "body{font:13px/1.4 system-ui,sans-serif;margin:1.5em;color:#222;background:#fff}\
h1{font-size:1.3em;margin:0 0 .3em}h2{font-size:1.05em;margin:1.4em 0 .3em}\
table{border-collapse:collapse;width:100%}th,td{padding:.2em .6em;text-align:right;white-space:nowrap;\
border-bottom:1px solid #ddd}th{background:#eee;font-weight:600}\
th:first-child,td:first-child,.l{text-align:left}tr.i td:first-child{padding-left:2em}\
tr.r{background:#f7f7f7;font-weight:600}.up{color:#176b2c}.down,.ejected,.bad{color:#b00020;font-weight:600}\
.part,.draining,.stale{color:#8a5a00}.q{color:#666;font-weight:400}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th{background:#2a2a2a}\
th,td{border-color:#333}tr.r{background:#202020}.up{color:#6fcf87}.down,.ejected,.bad{color:#ff7a85}\
.part,.draining,.stale{color:#e0b050}.q{color:#999}}";

/// The page. `status` is that of `/status`; only gateways whose names have `filter` are shown.
pub(super) fn page(statistics: &Statistics, status: &Value, filter: &str) -> String {
    let mut html = String::with_capacity(16 * 1024);
    // Writing to a string cannot fail.
    let _ = write(&mut html, statistics, status, filter);
    html
}

fn write(html: &mut String, statistics: &Statistics, status: &Value, filter: &str) -> fmt::Result {
    let text = |field: &str| status[field].as_str().unwrap_or("-").to_owned();
    let number = |field: &str| status[field].as_u64().unwrap_or_default();
    write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <title>Weir: {id}</title><style>{STYLE}</style><h1>Weir agent {id}</h1>\
         <p>version {version}, up {uptime}, generation {generation} <span class=q>{digest}</span>",
        id = Escaped(&text("id")),
        version = Escaped(&text("version")),
        uptime = Uptime(number("uptime_ms")),
        generation = number("generation"),
        digest = Escaped(
            text("digest")
                .trim_start_matches("sha256:")
                .get(..12)
                .unwrap_or_default()
        ),
    )?;
    write!(html, "<br>store {}: ", Escaped(&text("store")))?;
    match number("stale_ms") {
        0 => html.push_str("<span class=up>answers</span>"),
        ms => write!(
            html,
            "<span class=stale>silent for {}; what was applied last is served</span>",
            Uptime(ms)
        )?,
    }
    if let Some(problem) = status["problem"].as_str() {
        write!(html, "<br><span class=bad>{}</span>", Escaped(problem))?;
    }
    for refusal in status["refused"].as_array().into_iter().flatten().take(20) {
        let field = |name: &str| refusal[name].as_str().unwrap_or_default().to_owned();
        write!(
            html,
            "<br><span class=bad>refused: {} {}</span>",
            Escaped(&field("gateway")),
            Escaped(&field("reason"))
        )?;
    }
    match statistics.window_s {
        Some(seconds) => write!(html, "<br>rates and latencies of the last {seconds:.0} s")?,
        None => html.push_str("<br>rates and latencies come with the next reading"),
    }
    html.push_str(
        "; also as <a href=stats.json>JSON</a>, <a href=metrics>Prometheus</a>, <a href=health>health</a>",
    );
    let shown: Vec<&GatewayView> = statistics
        .gateways
        .iter()
        .filter(|gateway| gateway.name.contains(filter))
        .collect();
    for gateway in shown.iter().take(GATEWAYS_MAX) {
        write_gateway(html, gateway)?;
    }
    match shown.len() {
        0 => html.push_str("<p>No gateway is served."),
        count if count > GATEWAYS_MAX => write!(
            html,
            "<p>{} more gateways; <code>?gateway=TEXT</code> shows those whose names have the text.",
            count - GATEWAYS_MAX
        )?,
        _ => {}
    }
    html.push_str("</html>\n");
    Ok(())
}

fn write_gateway(html: &mut String, gateway: &GatewayView) -> fmt::Result {
    write!(
        html,
        "<h2>{} <span class=q>{}",
        Escaped(&gateway.name),
        gateway.protocol
    )?;
    for place in gateway.listener.iter().chain(&gateway.virtual_hosts) {
        write!(html, " {}", Escaped(place))?;
    }
    write!(
        html,
        "; {} without a route</span></h2><table><tr><th>route, instance<th class=l>state\
         <th>weight<th>rate/s<th>requests<th>in flight<th>2xx<th>3xx<th>4xx<th>5xx<th>5xx/s<th>errors<th>retries\
         <th>p50 ms<th>p90 ms<th>p99 ms<th>in<th>out<th class=l>last check",
        gateway.unrouted,
    )?;
    write!(
        html,
        "<tr class=r><td>all routes<td class=\"l {state}\">{state}<td>",
        state = gateway.state
    )?;
    let total = |of: fn(&RouteView) -> u64| gateway.routes.iter().map(of).sum::<u64>();
    let retries = total(|route| route.retries).to_string();
    let (received, sent) = (total(|route| route.bytes_in), total(|route| route.bytes_out));
    write_figures(html, &gateway.figures, &retries, received, sent)?;
    html.push_str("<td>");
    for route in &gateway.routes {
        write_route(html, route)?;
    }
    html.push_str("</table>");
    Ok(())
}

fn write_route(html: &mut String, route: &RouteView) -> fmt::Result {
    write!(html, "<tr class=r><td>{}", Escaped(&route.name))?;
    if let Some(condition) = &route.condition {
        write!(html, " <span class=q>if {}</span>", Escaped(condition))?;
    }
    write!(
        html,
        "<td class=\"l {state}\">{state}<td>{weight}%",
        state = route.state,
        weight = route.weight
    )?;
    let (retries, received, sent) = (route.retries, route.bytes_in, route.bytes_out);
    write_figures(html, &route.figures, &retries.to_string(), received, sent)?;
    html.push_str("<td>");
    for instance in &route.instances {
        let state = match instance.state {
            EndpointState::Up => "up",
            EndpointState::Down => "down",
            EndpointState::Ejected => "ejected",
            EndpointState::Draining => "draining",
            EndpointState::Unknown => "unknown",
        };
        write!(
            html,
            "<tr class=i><td>{} <span class=q>{}</span><td class=\"l {state}\">{state}<td>",
            Escaped(&instance.id),
            Escaped(&instance.address),
        )?;
        write_figures(html, &instance.figures, "", "", "")?;
        write!(
            html,
            "<td class=l>{}",
            Escaped(instance.last_check.as_deref().unwrap_or("-"))
        )?;
    }
    Ok(())
}

fn write_figures(
    html: &mut String,
    figures: &Figures,
    retries: &str,
    received: impl Display,
    sent: impl Display,
) -> fmt::Result {
    let errors: u64 = figures.errors.values().sum();
    let [_, twos, threes, fours, fives] = figures.classes;
    let bad = |count: u64| if count > 0 { " class=bad" } else { "" };
    write!(
        html,
        "<td>{}<td>{}<td>{}<td>{twos}<td>{threes}<td>{fours}<td{}>{fives}<td>{}<td{}>{errors}<td>{retries}\
         <td>{}<td>{}<td>{}<td>{received}<td>{sent}",
        Optional(figures.rate),
        figures.requests,
        figures.in_flight,
        bad(fives),
        Optional(figures.error_rate),
        bad(errors),
        Optional(figures.p50_ms),
        Optional(figures.p90_ms),
        Optional(figures.p99_ms),
    )
}

/// A number that may not be known.
struct Optional(Option<f64>);

impl Display for Optional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) if value < 10.0 => write!(f, "{value:.2}"),
            Some(value) => write!(f, "{value:.0}"),
            None => f.write_str("-"),
        }
    }
}

/// Milliseconds for people.
struct Uptime(u64);

impl Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000;
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3_600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{} h {} min", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// Text between tags or within quotes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_model::EndpointState;

    use super::{Uptime, page};
    use crate::admin::statistics::{statistics, tests::frame};

    #[test]
    fn it_has_what_there_is_and_nothing_becomes_a_tag() {
        let before = frame(1_500, 50, &[EndpointState::Down]);
        let shown = statistics(&frame(2_000, 100, &[EndpointState::Down]), Some(&before), &[]);
        let status = json!({
            "id": "edge-1", "version": "0.1.0", "uptime_ms": 61_000, "generation": 7,
            "digest": "sha256:0123456789abcdef", "store": "etcd", "stale_ms": 5_000,
            "problem": "it <script> is away", "refused": [{"gateway": "a", "reason": "b & c"}],
        });
        let html = page(&shown, &status, "");
        for expected in [
            "Weir agent edge-1",
            "up 1 min 1 s",
            "generation 7",
            "0123456789ab<",
            "silent for 5 s",
            "it &lt;script&gt; is away",
            "refused: a b &amp; c",
            "shop/&lt;b&gt;",
            "127.0.0.1:0",
            "class=\"l down\">down",
            "connected in 1 ms",
            "<td class=bad>10",
            "last 0 s",
            "all routes<td class=\"l down\">down",
            // Rate, requests and in flight of the route; latencies of the instance.
            "down<td>0%<td>100<td>100<td>3",
            "<td>2.00<td>2.00<td>2.00",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(page(&shown, &status, "other").contains("No gateway is served"));
    }

    #[test]
    fn times_are_for_people() {
        for (ms, text) in [
            (900, "0 s"),
            (3_599_999, "59 min 59 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(Uptime(ms).to_string(), text);
        }
    }
}
