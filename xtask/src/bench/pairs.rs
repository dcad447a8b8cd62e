//! Rounds in which every contestant is measured once, so that drift of the machine hits all alike; and
//! the ratios of the subject to each rival within the rounds.

use super::load::Sample;
use super::stats::{Estimate, estimate};
use anyhow::{Context, Result};
use serde::Serialize;

/// Something that can be measured again and again.
pub struct Contestant<'a> {
    /// The name in the report.
    pub name: String,
    /// Takes the sample of one round.
    pub measure: Box<dyn FnMut(usize) -> Result<Sample> + 'a>,
}

/// A contestant's samples, one for each round.
#[derive(Clone, Serialize)]
pub struct Series {
    /// The contestant.
    pub name: String,
    /// In the order of the rounds.
    pub samples: Vec<Sample>,
}

/// What the issue asks of a ratio.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The subject is to be at least so many times as good as the rival.
    AtLeast(f64),
    /// The subject may cost at most so many times what the rival costs.
    AtMost(f64),
    /// Shown for comparison only.
    None,
}

/// By what the contestants are compared.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// CPU time of the server for each operation.
    Cpu,
    /// Time on the clock for each operation.
    Clock,
}

/// The subject beside one rival.
#[derive(Clone, Serialize)]
pub struct Comparison {
    /// What was done.
    pub case: String,
    /// What the issue asks.
    pub goal: Goal,
    /// Which ratio is held against the goal.
    pub decided_by: Measure,
    /// Ratio of CPU per operation.
    pub cpu: Estimate,
    /// Ratio of throughput.
    pub rate: Estimate,
    /// The subject's samples.
    pub subject: Series,
    /// The rival's samples.
    pub rival: Series,
}

/// Runs one unrecorded round to warm everything up, then `pairs` rounds in alternating order.
pub fn run(pairs: usize, mut contestants: Vec<Contestant>) -> Result<Vec<Series>> {
    let mut series: Vec<Series> =
        contestants.iter().map(|one| Series { name: one.name.clone(), samples: Vec::new() }).collect();
    for round in 0..=pairs {
        for index in order(contestants.len(), round) {
            let contestant = &mut contestants[index];
            let sample = (contestant.measure)(round)
                .with_context(|| format!("{} in round {round}", contestant.name))?;
            if round > 0 {
                series[index].samples.push(sample);
            }
        }
    }
    Ok(series)
}

/// Who goes when: forwards and backwards in turn, each time beginning with another one.
fn order(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).map(|index| (index + round / 2) % count).collect();
    if !round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// Compares the first series with each of the others, by what `goals` asks of them.
pub fn compare(case: &str, series: &[Series], goals: &[Goal], decided_by: Measure) -> Vec<Comparison> {
    let Some((subject, rivals)) = series.split_first() else { return Vec::new() };
    let one = |(rival, goal): (&Series, &Goal)| {
        let costs = matches!(goal, Goal::AtMost(_));
        let ratio = |cost: fn(&Sample) -> f64| {
            estimate(subject.samples.iter().zip(&rival.samples).map(|(mine, theirs)| {
                if costs { cost(mine) / cost(theirs) } else { cost(theirs) / cost(mine) }
            }))
        };
        Comparison {
            case: case.to_owned(),
            goal: *goal,
            decided_by,
            cpu: ratio(Sample::cpu_per_operation),
            rate: ratio(|sample| 1.0 / sample.rate()),
            subject: subject.clone(),
            rival: rival.clone(),
        }
    };
    rivals.iter().zip(goals).map(one).collect()
}

impl Comparison {
    /// The ratio that is held against the goal.
    pub fn deciding(&self) -> Estimate {
        match self.decided_by {
            Measure::Cpu => self.cpu,
            Measure::Clock => self.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_first_and_before_each_other_equally_often() {
        let rounds: Vec<Vec<usize>> = (0..6).map(|round| order(3, round)).collect();
        for one in 0..3 {
            assert_eq!(rounds.iter().filter(|round| round[0] == one).count(), 2);
            for other in (0..3).filter(|other| *other != one) {
                let place = |round: &Vec<usize>, who| round.iter().position(|index| *index == who);
                let before = rounds.iter().filter(|round| place(round, one) < place(round, other)).count();
                assert_eq!(before, 3, "{one} before {other}");
            }
        }
    }
}
