//! What can be asked: one entry for each endpoint, from which the `OpenAPI` document, the metrics' labels, the limits of bodies
//! and the exemption of halts are read.

use axum::http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{api::wire::Code, model::MAX_JOB_BYTES};

/// Gives the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`, by reference.
pub(crate) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A parameter in the address, behind the question mark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryParameter {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) schema: SchemaOf,
}

/// Where an answer leads: what of it is a parameter of which operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) to: &'static str,
    pub(crate) parameter: &'static str,
    /// A JSON pointer into the answer.
    pub(crate) from: &'static str,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// Its name in the document, and in metrics.
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    /// Which scope it needs, in words; `None`: any token opens it.
    pub(crate) needs: Option<&'static str>,
    /// Nobody needs a token.
    pub(crate) public: bool,
    /// Never limited: whoever must stop something can.
    pub(crate) unlimited: bool,
    pub(crate) body: Option<SchemaOf>,
    pub(crate) most_bytes: usize,
    pub(crate) query: &'static [QueryParameter],
    pub(crate) answers: &'static [(u16, SchemaOf)],
    /// Beside what every operation may say.
    pub(crate) says: &'static [Code],
    pub(crate) links: &'static [Link],
}

impl Operation {
    const fn new(method: Method, path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            name,
            summary,
            needs: None,
            public: false,
            unlimited: false,
            body: None,
            most_bytes: MAX_JOB_BYTES,
            query: &[],
            answers: &[],
            says: &[],
            links: &[],
        }
    }

    /// Something to look at.
    pub(crate) const fn get(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, name, summary)
    }

    /// Something to do, said in a body of type `T`.
    pub(crate) fn post<T: JsonSchema>(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self { body: Some(schema::<T>), ..Self::new(Method::POST, path, name, summary) }
    }

    /// Something to take away.
    pub(crate) const fn delete(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::DELETE, path, name, summary)
    }

    /// It changes something.
    pub(crate) fn mutates(&self) -> bool {
        self.method != Method::GET
    }
}
