//! Arguments that set the clock.

use crate::clock::Clock;

#[derive(Debug, clap::Args)]
pub struct ClockArgs {
    /// Run a time-lapse: the factor by which the clock is faster than the system clock
    #[arg(long, hide = true, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_clock_speed)]
    clock_speed: f64,
}

impl ClockArgs {
    /// The clock of the command.
    pub fn clock(&self) -> Clock {
        Clock::scaled(self.clock_speed)
    }
}

/// Parses the factor of a time-lapse.
fn parse_clock_speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed| (1.0..=3_600.0).contains(speed))
        .ok_or_else(|| "expected a number from 1 to 3600".to_owned())
}
