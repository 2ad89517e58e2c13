//! The one engine that talks to every exchange: REST client, WebSocket runner, budget, backoff, breaker.
