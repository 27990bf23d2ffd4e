//! What a trace is told of the configuration: a member of its `tracestate` (W3C Trace Context, section 3.3).

use filter::View;
use smallvec::SmallVec;

use super::claims::TRACESTATE;
use crate::{head::members, line::Line};

/// What our member is called.
const KEY: &[u8] = b"maitred=";

/// The most members that there may be.
const MEMBERS: usize = 32;

/// How many bytes everybody passes on, and from how many on a member is the first that has to go (section 3.3.1.5).
const LONGEST: usize = 512;
const LONG: usize = 128;

/// The generation, and what others have put there of a trace that they began.
pub(super) fn with_generation(request: &View<'_>) -> Line {
    let mut line = Line::default();
    line.write(format_args!("maitred=g:{}", request.generation));
    if request.client.trace.is_continued() {
        let others = members(&request.head.headers, &TRACESTATE).filter(|member| !member.starts_with(KEY));
        let mut others: SmallVec<[&[u8]; MEMBERS]> = others.take(MEMBERS - 1).collect();
        let length = |others: &[&[u8]]| others.iter().map(|member| member.len() + 1).sum::<usize>();
        while line.as_bytes().len() + length(&others) > LONGEST {
            let long = others.iter().rposition(|member| member.len() > LONG);
            others.remove(long.unwrap_or(others.len() - 1));
        }
        for member in others {
            line.push(b",");
            line.push(member);
        }
    }
    line
}
