//! What one screen of `top` shows.

use super::load::{Backend, Line, Load, Upstream};
use crate::{style::Style, words::span};

/// One screen, to be cut to the terminal's size.
pub struct Frame {
    head: Vec<Row>,
    routes: Vec<Row>,
    upstreams: Vec<Row>,
    style: Style,
}

/// A line of text that is coloured as a whole, once it is cut.
struct Row {
    text: String,
    look: Look,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Plain,
    Title,
    Failing,
}

/// The least that is left for the upstreams, when there is not room for everything.
const UPSTREAMS: usize = 6;

impl Frame {
    /// The screen for this load.
    pub fn of(load: &Load, style: Style) -> Self {
        let status = &load.status;
        let text = |key: &str| status[key].as_str().unwrap_or("-");
        let up = span(status["uptime_seconds"].as_u64().unwrap_or(0));
        let generation = status["generation"]["id"].as_u64().map(|id| format!("   generation {id}"));
        let first = format!(
            "maitred {}   {}   up {up}   pid {}{}",
            text("version"),
            text("phase"),
            status["pid"],
            generation.unwrap_or_default()
        );
        let Line { requests_per_second, failures_per_second, in_flight, p50, p95, p99, .. } = &load.total;
        let share = if *requests_per_second > 0.0 { 100.0 * failures_per_second / requests_per_second } else { 0.0 };
        let second = format!(
            "{requests_per_second:.0}/s   {share:.1} % failed   {in_flight} in flight   p50 {}   p95 {}   p99 {}",
            time(*p50),
            time(*p95),
            time(*p99)
        );
        let head = vec![Row::new(first, Look::Title), Row::new(second, Look::Plain), Row::new("", Look::Plain)];
        let title = row("ROUTE", ["RPS", "P50", "P95", "P99", "4XX/S", "FAILED/S", "IN FLIGHT", "OUT/S"]);
        let mut routes = vec![Row::new(title, Look::Title)];
        routes.extend(load.routes.iter().map(route));
        let title = row("UPSTREAM", ["RPS", "P50", "P95", "P99", "", "FAILED/S", "CONNECTS/S", ""]);
        let mut upstreams = vec![Row::new("", Look::Plain), Row::new(title, Look::Title)];
        for one in &load.upstreams {
            upstreams.push(upstream(one));
            upstreams.extend(one.backends.iter().map(backend));
        }
        Self { head, routes, upstreams, style }
    }

    /// The lines that have room in so many columns and rows: the busiest routes, and the first upstreams.
    pub fn lines(&self, (columns, rows): (usize, usize)) -> Vec<String> {
        let room = rows.saturating_sub(self.head.len());
        let least = UPSTREAMS.min(room / 2);
        let for_upstreams = self.upstreams.len().min(room.saturating_sub(self.routes.len()).max(least));
        let for_routes = room.saturating_sub(for_upstreams);
        let head = self.head.iter().map(|row| self.draw(row, columns)).take(rows);
        let rest = self.cut(&self.routes, for_routes, columns).into_iter();
        head.chain(rest).chain(self.cut(&self.upstreams, for_upstreams.min(room), columns)).collect()
    }

    /// The first so many rows; the last of them says how many more there would be.
    fn cut(&self, rows: &[Row], room: usize, columns: usize) -> Vec<String> {
        if rows.len() <= room {
            return rows.iter().map(|row| self.draw(row, columns)).collect();
        }
        let Some(kept) = room.checked_sub(1) else { return Vec::new() };
        let mut lines: Vec<String> = rows[..kept].iter().map(|row| self.draw(row, columns)).collect();
        lines.push(self.style.dim(&format!("… {} more", rows.len() - kept)));
        lines
    }

    fn draw(&self, row: &Row, columns: usize) -> String {
        let text: String = row.text.chars().take(columns).collect();
        match row.look {
            Look::Plain => text,
            Look::Title => self.style.bold(&text),
            Look::Failing => self.style.error(&text),
        }
    }
}

impl Row {
    fn new(text: impl Into<String>, look: Look) -> Self {
        Self { text: text.into(), look }
    }

    /// A row that stands out where something fails.
    fn of(text: String, failures: f64) -> Self {
        Self::new(text, if failures > 0.0 { Look::Failing } else { Look::Plain })
    }
}

fn row(name: &str, [rps, p50, p95, p99, fourth, failed, flight, out]: [&str; 8]) -> String {
    let name: String = name.chars().take(28).collect();
    let line = format!("{name:<28} {rps:>9} {p50:>8} {p95:>8} {p99:>8} {fourth:>8} {failed:>9} {flight:>10} {out:>9}");
    line.trim_end().to_owned()
}

fn route(line: &Line) -> Row {
    let text = row(
        &line.name,
        [
            &rate(line.requests_per_second),
            &time(line.p50),
            &time(line.p95),
            &time(line.p99),
            &rate(line.client_errors_per_second),
            &rate(line.failures_per_second),
            &line.in_flight.to_string(),
            &bytes(line.bytes_out_per_second),
        ],
    );
    Row::of(text, line.failures_per_second)
}

fn upstream(upstream: &Upstream) -> Row {
    let sum = |of: fn(&Backend) -> f64| upstream.backends.iter().map(of).sum::<f64>();
    let failures = sum(|backend| backend.failures_per_second);
    let text = row(
        &upstream.name,
        [
            &rate(sum(|backend| backend.attempts_per_second)),
            &time(upstream.p50),
            &time(upstream.p95),
            &time(upstream.p99),
            "",
            &rate(failures),
            &rate(upstream.connects_per_second),
            "",
        ],
    );
    Row::of(text, failures)
}

fn backend(backend: &Backend) -> Row {
    let (attempts, failures) = (rate(backend.attempts_per_second), rate(backend.failures_per_second));
    let name = match backend.state.as_str() {
        "" | "up" => format!("  {}", backend.address),
        state => format!("  {} ({state})", backend.address),
    };
    let text = row(&name, [&attempts, "", "", "", "", &failures, "", ""]);
    Row::of(text, backend.failures_per_second)
}

fn rate(per_second: f64) -> String {
    format!("{per_second:.1}")
}

/// `0.8 ms`, `12 ms`, `1.5 s`; `-` where nothing was measured.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.01 => format!("{:.1} ms", 1000.0 * seconds),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", 1000.0 * seconds),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

fn bytes(per_second: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let fits = |power: &i32| per_second < 1024_f64.powi(power + 1);
    let power = (0..3).find(fits).unwrap_or(3);
    let number = per_second / 1024_f64.powi(power);
    let unit = usize::try_from(power).ok().and_then(|power| units.get(power)).copied().unwrap_or("GiB");
    if power == 0 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::{super::load::tests::load, *};
    use crate::cli::ColorWhen;

    fn frame(when: ColorWhen, size: (usize, usize)) -> Vec<String> {
        Frame::of(&load(), Style::of(when, &std::io::stdout())).lines(size)
    }

    #[test]
    fn a_frame_has_the_load_the_routes_and_the_upstreams() {
        let text = frame(ColorWhen::Never, (200, 50)).join("\n");
        for told in [
            "maitred 0.3.2   ready   up 1m 1s   pid 7",
            "60/s   16.7 % failed   6 in flight   p50 18 ms   p95 24 ms   p99 25 ms",
            "orders                            50.0    18 ms    24 ms    25 ms      0.0      10.0          3  39.1 KiB",
            "users                            100.0",
            "  10.0.0.1:80                    100.0                                          50.0",
        ] {
            assert!(text.contains(told), "{told:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_frame_is_never_larger_than_its_terminal() {
        for (columns, rows) in [(80, 24), (40, 8), (10, 3), (1, 1), (80, 0)] {
            let lines = frame(ColorWhen::Never, (columns, rows));
            assert!(lines.len() <= rows, "{} lines in {rows}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= columns.max(8)), "{lines:?} in {columns}");
        }
        let small = frame(ColorWhen::Never, (80, 9)).join("\n");
        assert!(small.contains("ROUTE") && small.contains("UPSTREAM") && small.contains("more"), "{small}");
    }

    #[test]
    fn what_fails_stands_out_only_where_colour_is_wanted() {
        assert!(frame(ColorWhen::Always, (80, 24)).iter().any(|line| line.starts_with("\x1b[1;31morders")));
        assert!(!frame(ColorWhen::Never, (80, 24)).join("").contains('\x1b'));
    }
}
