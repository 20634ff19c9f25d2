//! What was answered, as a number. Pure.

use serde::{Deserialize, de::IgnoredAny};

use super::NoNumber;

/// An answer to an instant query. <https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>
#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Evaluated>,
    warnings: Option<Vec<String>>,
    /// `VictoriaMetrics`' word for what Thanos and Prometheus warn of.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Evaluated {
    Vector(Vec<Series>),
    Scalar(Sample),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    /// Absent for a native histogram.
    value: Option<Sample>,
}

/// When, and what.
#[derive(Deserialize)]
struct Sample(IgnoredAny, String);

/// What a warning begins with that is about the query itself, and not about what it could not read:
/// <https://pkg.go.dev/github.com/prometheus/prometheus/util/annotations>
const ABOUT_THE_QUERY: [&str; 2] = ["PromQL warning:", "PromQL info:"];

/// The one number in Prometheus's answer. A warning that is not known to be about the query says that some of it is
/// missing (a store of Thanos' that is away, a remote read that failed), and a sum over a part is no sum.
pub(super) fn of_prometheus(body: &[u8]) -> Result<f64, NoNumber> {
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) if error.is_data() => return Err(NoNumber::NotPrometheus),
        Err(_) => return Err(NoNumber::NotJson),
    };
    if answer.status != "success" {
        return Err(NoNumber::NotEvaluated);
    }
    let about_the_query =
        |warning: &String| ABOUT_THE_QUERY.iter().any(|beginning| warning.starts_with(beginning));
    if answer.is_partial == Some(true) || !answer.warnings.iter().flatten().all(about_the_query) {
        return Err(NoNumber::Partial);
    }
    let Sample(_, text) = match answer.data.ok_or(NoNumber::NotPrometheus)? {
        Evaluated::Scalar(sample) => sample,
        Evaluated::Vector(mut series) => match (series.pop(), series.len()) {
            (None, _) => return Err(NoNumber::NoSeries),
            (Some(one), 0) => one.value.ok_or(NoNumber::NotANumber)?,
            (Some(_), others) => return Err(NoNumber::ManySeries(others + 1)),
        },
        Evaluated::Matrix(_) | Evaluated::String(_) => return Err(NoNumber::NotOneMoment),
    };
    finite(text.parse().map_err(|_| NoNumber::NotANumber)?)
}

/// The number at `pointer` (RFC 6901) in a JSON document.
pub(super) fn of_document(body: &[u8], pointer: &str) -> Result<f64, NoNumber> {
    let document: serde_json::Value = serde_json::from_slice(body).map_err(|_| NoNumber::NotJson)?;
    let field = document.pointer(pointer).ok_or_else(|| NoNumber::NoField(pointer.to_owned()))?;
    finite(field.as_f64().ok_or(NoNumber::NotANumber)?)
}

fn finite(number: f64) -> Result<f64, NoNumber> {
    if number.is_finite() { Ok(number) } else { Err(NoNumber::NotFinite) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(series: &str) -> Result<f64, NoNumber> {
        answered(&format!(r#"{{"resultType": "vector", "result": [{series}]}}"#), "")
    }

    fn answered(data: &str, more: &str) -> Result<f64, NoNumber> {
        of_prometheus(format!(r#"{{"status": "success", "data": {data}{more}}}"#).as_bytes())
    }

    fn series(value: &str) -> String {
        format!(r#"{{"metric": {{"job": "login"}}, "value": [1435781451.781, "{value}"]}}"#)
    }

    #[test]
    fn prometheus_gives_one_finite_number_or_none() {
        assert_eq!(vector(&series("0.25")), Ok(0.25));
        assert_eq!(vector(&series("-1e3")), Ok(-1_000.0));
        for (value, why) in [
            ("NaN", NoNumber::NotFinite),
            ("+Inf", NoNumber::NotFinite),
            ("-Inf", NoNumber::NotFinite),
            ("", NoNumber::NotANumber),
            ("1 s", NoNumber::NotANumber),
        ] {
            assert_eq!(vector(&series(value)), Err(why), "{value}");
        }
        assert_eq!(vector(""), Err(NoNumber::NoSeries));
        assert_eq!(vector(&[series("1"), series("1")].join(",")), Err(NoNumber::ManySeries(2)));
        assert_eq!(vector(r#"{"metric": {}, "histogram": [1, {}]}"#), Err(NoNumber::NotANumber));
    }

    #[test]
    fn a_scalar_is_a_number_and_what_has_several_moments_is_none() {
        let data = |kind: &str, result: &str| {
            answered(&format!(r#"{{"resultType": "{kind}", "result": {result}}}"#), "")
        };
        assert_eq!(data("scalar", r#"[1, "7"]"#), Ok(7.0));
        assert_eq!(data("scalar", r#"[1, "NaN"]"#), Err(NoNumber::NotFinite));
        assert_eq!(data("matrix", r#"[{"metric": {}, "values": [[1, "2"]]}]"#), Err(NoNumber::NotOneMoment));
        assert_eq!(data("string", r#"[1, "7"]"#), Err(NoNumber::NotOneMoment));
        assert_eq!(data("cube", "[]"), Err(NoNumber::NotPrometheus));
        assert_eq!(data("vector", r#"[{"value": [1, 7]}]"#), Err(NoNumber::NotPrometheus));
    }

    #[test]
    fn a_part_of_the_answer_is_none_and_a_remark_on_the_query_changes_nothing() {
        let data = format!(r#"{{"result": [{}], "resultType": "vector"}}"#, series("3"));
        for remark in [
            r#", "warnings": []"#,
            r#", "warnings": null, "infos": ["PromQL info: metric might not be a counter"]"#,
            r#", "warnings": ["PromQL warning: encountered a mix of histograms"], "isPartial": false"#,
        ] {
            assert_eq!(answered(&data, remark), Ok(3.0), "{remark}");
        }
        for part in [
            r#", "warnings": ["No StoreAPIs matched for this query"]"#,
            r#", "warnings": ["PromQL warning: a mix", "remote_read: remote server answered 502"]"#,
            r#", "isPartial": true"#,
        ] {
            assert_eq!(answered(&data, part), Err(NoNumber::Partial), "{part}");
        }
    }

    #[test]
    fn what_is_not_prometheuss_is_none() {
        let read = |body: &str| of_prometheus(body.as_bytes());
        assert_eq!(read("<html>"), Err(NoNumber::NotJson));
        assert_eq!(read(r#"{"status": "success""#), Err(NoNumber::NotJson));
        assert_eq!(read(r#"{"headroom": 7}"#), Err(NoNumber::NotPrometheus));
        assert_eq!(read(r#"{"status": "success"}"#), Err(NoNumber::NotPrometheus));
        let failed = r#"{"status": "error", "errorType": "timeout", "error": "query timed out"}"#;
        assert_eq!(read(failed), Err(NoNumber::NotEvaluated));
    }

    #[test]
    fn a_pointer_leads_to_a_number_or_to_none() {
        let document = br#"{"a/b": {"m~n": [1, 2.5]}, "text": "7", "none": null, "big": 1e400}"#;
        let small = br#"{"a/b": {"m~n": [1, 2.5]}, "text": "7", "none": null}"#;
        assert_eq!(of_document(small, "/a~1b/m~0n/1"), Ok(2.5));
        assert_eq!(of_document(small, "/a~1b/m~0n/2"), Err(NoNumber::NoField("/a~1b/m~0n/2".to_owned())));
        for no_number in ["/text", "/none", "/a~1b"] {
            assert_eq!(of_document(small, no_number), Err(NoNumber::NotANumber), "{no_number}");
        }
        assert_eq!(of_document(document, "/text"), Err(NoNumber::NotJson), "a number that no double holds");
        assert_eq!(of_document(b"7 8", "/text"), Err(NoNumber::NotJson));
    }
}
