//! The W3C trace context of requests: what one push causes at other units carries its trace.

use reqwest::RequestBuilder;

tokio::task_local! {
    static TRACEPARENT: Option<String>;
}

/// Runs `work`, whose requests to other units carry this `traceparent` header.
pub async fn within_trace<F: Future>(traceparent: Option<String>, work: F) -> F::Output {
    TRACEPARENT.scope(traceparent, work).await
}

/// The request with the header of the work it belongs to.
pub fn with_header(request: RequestBuilder) -> RequestBuilder {
    match TRACEPARENT.try_with(Clone::clone) {
        Ok(Some(traceparent)) => request.header("traceparent", traceparent),
        // Not within a trace.
        Ok(None) | Err(_) => request,
    }
}
