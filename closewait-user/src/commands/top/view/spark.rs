//! Numbers over time as bars: one column each, some lines high. Pure.

/// From nothing to a full cell, in eighths.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same for terminals that show ASCII only.
const ASCII: [char; 9] = [' ', '.', '.', ':', ':', '+', '+', '#', '#'];

/// `lines` of text from the top down. What is not zero can be seen, and what is not the
/// greatest does not look like it.
pub(super) fn bars(values: &[u64], lines: u16, unicode: bool) -> Vec<String> {
    let cells = if unicode { &BLOCKS } else { &ASCII };
    let most = values.iter().copied().max().unwrap_or(0);
    let full = u64::from(lines) * 8;
    let height = |value: u64| match value {
        0 => 0,
        value if value == most => full,
        value => {
            let part = u128::from(value) * u128::from(full) / u128::from(most);
            u64::try_from(part).unwrap_or(full).clamp(1, full - 1)
        }
    };
    let line = |n: u16| {
        let below = u64::from(lines - 1 - n) * 8;
        let cell = |&value: &u64| {
            let filled = height(value).saturating_sub(below).min(8);
            cells[usize::try_from(filled).unwrap_or(8)]
        };
        values.iter().map(cell).collect()
    };
    (0..lines).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_is_full_and_the_least_can_be_seen() {
        assert_eq!(bars(&[0, 1, 500, 999, 1000], 1, true), [" ▁▄▇█"]);
        assert_eq!(bars(&[0, 1, 500, 1000], 2, true), ["   █", " ▁██"]);
        assert_eq!(bars(&[0, 1, 500, 1000], 1, false), [" .:#"]);
        assert_eq!(bars(&[0, 0], 1, true), ["  "]);
        assert_eq!(bars(&[5, 5], 1, true), ["██"]);
        assert_eq!(bars(&[u64::MAX, 1], 3, true), ["█ ", "█ ", "█▁"]);
        assert_eq!(bars(&[], 1, true), [""]);
    }
}
