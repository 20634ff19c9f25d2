//! The arithmetic against brute force, and the promises by simulation.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

#[expect(clippy::print_stdout, reason = "the figures are the answer")]
fn say(figures: fmt::Arguments<'_>) {
    println!("{figures}");
}

fn test(stages: usize) -> HealthTest {
    HealthTest::new(&FrozenHealth::default(), stages)
}

/// The same sum, multiplied out one outcome after the other.
fn by_hand(q: f64, far: f64, outcomes: &[bool]) -> f64 {
    let odds = |p: f64| p / (1.0 - p);
    let ratio = (odds(far) / odds(q)).powf(1.0 / 32.0);
    let mut sum = 0.0;
    let mut at = odds(q);
    for _ in 0..32 {
        at *= ratio;
        let p = at / (1.0 + at);
        let mut product = 1.0 / 32.0;
        for rejected in outcomes {
            product *= if *rejected { p / q } else { (1.0 - p) / (1.0 - q) };
        }
        sum += product;
    }
    sum
}

fn seen(outcomes: &[bool]) -> Seen {
    let rejected = outcomes.iter().filter(|rejected| **rejected).count() as u64;
    Seen { rejected, accepted: outcomes.len() as u64 - rejected }
}

proptest! {
    #[test]
    fn evidence_is_the_sum_of_the_products(outcomes in prop::collection::vec(any::<bool>(), 0..60)) {
        let (harm, health) = (Mixture::against(0.002, WORST), Mixture::against(0.01, BEST));
        for (mixture, by_hand) in
            [(harm, by_hand(0.002, WORST, &outcomes)), (health, by_hand(0.01, BEST, &outcomes))]
        {
            let evidence = mixture.evidence(seen(&outcomes));
            prop_assert!((evidence - by_hand.ln()).abs() < 1e-6, "{evidence} {}", by_hand.ln());
        }
    }

    #[test]
    fn a_rejection_speaks_against_it_and_an_acceptance_for_it(rejected in 0..10_000_u64, accepted in 0..10_000_000_u64) {
        let (test, seen) = (test(4), Seen { rejected, accepted });
        let worse = Seen { rejected: rejected + 1, ..seen };
        let better = Seen { accepted: accepted + 1, ..seen };
        prop_assert!(test.harm.evidence(worse) > test.harm.evidence(seen));
        prop_assert!(test.harm.evidence(better) < test.harm.evidence(seen));
        prop_assert!(test.health.evidence(worse) < test.health.evidence(seen));
        prop_assert!(test.health.evidence(better) > test.health.evidence(seen));
        prop_assert!(test.harm.evidence(seen).is_finite() && test.health.evidence(seen).is_finite());
    }

    #[test]
    fn bounds_that_a_policy_may_have_are_bounds(p0 in 1e-6..0.9, up in 1e-6..0.09, alpha in 1e-6..0.9, beta in 1e-6..0.9) {
        let health = crate::audience::Health { p0, alpha, p1: p0 + up, beta };
        let frozen = FrozenHealth::of(&health);
        let text = serde_json::to_string(&frozen).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<FrozenHealth>(&text).expect("the same"), frozen);
        let test = HealthTest::new(&frozen, 3);
        prop_assert!(!test.fails(Seen::default()) && !test.passes(Seen::default()));
        let all = Seen { rejected: 20_000_000, accepted: 0 };
        prop_assert!(test.fails(all));
        prop_assert!(test.passes_after() > 0);
    }
}

/// The expectation of the evidence, over every sequence of so many outcomes at exactly `p0`, is no more than 1: this is what
/// makes the promise.
#[test]
fn evidence_does_not_grow_where_nothing_is_wrong() {
    let (q, mixture) = (0.002_f64, Mixture::against(0.002, WORST));
    for length in [1_u32, 2, 5, 12] {
        let expectation: f64 = (0..1_u32 << length)
            .map(|bits| {
                let (rejected, accepted) = (bits.count_ones(), length - bits.count_ones());
                let chance = q.powf(f64::from(rejected)) * (1.0 - q).powf(f64::from(accepted));
                let seen = Seen { rejected: rejected.into(), accepted: accepted.into() };
                chance * mixture.evidence(seen).exp()
            })
            .sum();
        assert!((expectation - 1.0).abs() < 1e-9, "{length}: {expectation}");
    }
}

/// Sends until it fails, or `most` outcomes are in. Evidence rises with rejections only: elsewhere it need not be asked.
fn fails_after(test: &HealthTest, share: f64, most: u64, rng: &mut StdRng) -> Option<u64> {
    let mut seen = Seen::default();
    for sent in 1..=most {
        if !rng.random_bool(share) {
            seen.accepted += 1;
            continue;
        }
        seen.rejected += 1;
        if test.fails(seen) {
            return Some(sent);
        }
    }
    None
}

fn quantile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn a_great_harm_shows_after_some_twenty_outcomes_and_a_small_one_after_some_hundred() {
    let mut rng = StdRng::seed_from_u64(1);
    let test = test(4);
    for (share, median, late) in [(0.15, 15..=24, 40..=62), (0.03, 150..=230, 330..=520)] {
        let mut took: Vec<u64> =
            (0..2_000).map(|_| fails_after(&test, share, 20_000, &mut rng).expect("it shows")).collect();
        took.sort_unstable();
        let (half, most) = (quantile(&took, 50), quantile(&took, 95));
        say(format_args!("a true share of {share}: a median of {half} outcomes, a p95 of {most}"));
        assert!(median.contains(&half) && late.contains(&most), "{share}: {half}, {most}");
    }
}

/// Ten thousand healthy rollouts at the very edge of health, in four stages of two providers.
#[test]
fn a_healthy_rollout_is_hardly_ever_halted() {
    let mut rng = StdRng::seed_from_u64(2);
    let test = test(4);
    let halted =
        (0..10_000).filter(|_| (0..8).any(|_| fails_after(&test, 0.002, 500, &mut rng).is_some())).count();
    say(format_args!("10000 healthy rollouts: {halted} halted, at most 10 are promised"));
    assert!(halted <= 10, "{halted} of 10000 at alpha = 0.001");
}

#[test]
fn twenty_thousand_sends_at_half_of_what_is_healthy_halt_nobody() {
    let mut rng = StdRng::seed_from_u64(3);
    let test = test(4);
    let halted = (0..1_000).filter(|_| fails_after(&test, 0.001, 20_000, &mut rng).is_some()).count();
    say(format_args!("1000 rollouts of 20000 sends at 0.1 %: {halted} halted"));
    assert!(halted <= 1, "{halted} of 1000");
}

/// What passes is below `p1` for certain.
#[test]
fn a_stage_that_is_not_sound_hardly_ever_passes() {
    let mut rng = StdRng::seed_from_u64(4);
    let test = test(4);
    let is_passed = |rng: &mut StdRng| {
        let mut seen = Seen::default();
        (0..3_000).any(|_| {
            if rng.random_bool(0.01) {
                seen.rejected += 1;
            } else {
                seen.accepted += 1;
            }
            test.passes(seen)
        })
    };
    let passed = (0..1_000).filter(|_| is_passed(&mut rng)).count();
    say(format_args!("1000 stages at p1: {passed} passed, at most 50 are promised"));
    assert!(passed <= 50, "{passed} of 1000 at beta = 0.05");
}

#[test]
fn some_three_hundred_clean_outcomes_of_each_provider_pass() {
    let test = test(4);
    let enough = test.passes_after();
    assert!((300..=360).contains(&enough), "{enough}");
    let clean = |accepted| Seen { accepted, rejected: 0 };
    let few = (Provider::Fcm, clean(enough - 1));
    assert_eq!(test.verdict(&[]), Verdict::Inconclusive, "nothing was seen");
    assert_eq!(test.verdict(&[(Provider::Apns, Seen::default())]), Verdict::Inconclusive);
    assert_eq!(test.verdict(&[(Provider::Apns, clean(enough))]), Verdict::Pass);
    assert_eq!(test.verdict(&[(Provider::Apns, clean(enough)), few]), Verdict::Inconclusive);
    assert_eq!(
        test.verdict(&[(Provider::Apns, clean(enough)), (Provider::Fcm, clean(enough))]),
        Verdict::Pass
    );
    let bad = Seen { rejected: 9, accepted: 3 };
    let failed = test.verdict(&[(Provider::Apns, clean(enough)), (Provider::Fcm, bad)]);
    assert_eq!(failed, Verdict::Fail(Failure { provider: Provider::Fcm, seen: bad }));
    let Verdict::Fail(failure) = failed else { panic!("it fails") };
    assert_eq!(
        failure.to_string(),
        "rejected-too-often: fcm rejects more than chance explains (9-of-12-rejected); nobody else is tried"
    );
}
