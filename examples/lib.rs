//! Small complete applications on a holon network, each a folder with a README. What they do is here, so that tests do it
//! too; the programs beside it only show it.

#[path = "chat/site.rs"]
pub mod chat;
#[path = "live-results/ledger.rs"]
pub mod live_results;
#[path = "price-board/station.rs"]
pub mod price_board;
#[path = "token-swap/market.rs"]
pub mod token_swap;
