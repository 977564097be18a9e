//! The log of the command. Where messages of the libraries name a setting of `Config`, it names the
//! option of the command line.

use log::{Log, Metadata, Record};

/// Settings that messages name, and the options that set them.
const OPTIONS: [(&str, &str); 1] = [("Config::memory_limit_bytes", "--memory")];

/// Sets the logger up: warnings always, more with each -v, and whatever RUST_LOG says.
pub(crate) fn init(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let logger = env_logger::Builder::new().filter_level(level).parse_default_env().build();
    log::set_max_level(logger.filter());
    // This fails only if there is a logger already, and nothing else sets one.
    let _ = log::set_boxed_logger(Box::new(WithOptions(logger)));
}

/// A logger that replaces settings by options.
struct WithOptions(env_logger::Logger);

impl Log for WithOptions {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() != log::Level::Warn || !self.0.matches(record) {
            return self.0.log(record);
        }
        let text = with_options(record.args().to_string());
        let mut changed = Record::builder();
        changed.metadata(record.metadata().clone()).module_path(record.module_path());
        changed.file(record.file()).line(record.line());
        self.0.log(&changed.args(format_args!("{text}")).build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn with_options(text: String) -> String {
    OPTIONS.iter().fold(text, |text, (setting, option)| text.replace(setting, option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_as_the_command_line_has_it() {
        let text = "memory is short. Raise Config::memory_limit_bytes, or find out why".to_owned();
        assert_eq!(with_options(text), "memory is short. Raise --memory, or find out why");
    }
}
