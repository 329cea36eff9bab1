//! Requests of the proxy's own that go before a client's, as bytes.

use crate::net::flow::Flow;
use crate::session::statements::{ServerName, Slip, Statements, write_parse};
use crate::stats::pool::PoolCells;
use crate::wire::encode;

/// An empty text, without parameters.
const EMPTY: &[u8] = b"\0\0\0";

pub(super) fn slip_in(up: &mut Flow, slips: &[Slip], statements: &Statements, cells: &PoolCells) {
    for slip in slips {
        cells.parses_added.add(u64::from(matches!(slip, Slip::Parse(..) | Slip::ParseUnnamed)));
        up.slip_in(|out| write_slip(out, slip, statements));
    }
}

pub(super) fn write_slip(out: &mut Vec<u8>, slip: &Slip, statements: &Statements) {
    match slip {
        Slip::Close(serial) => {
            encode::close_statement(out, ServerName::new(*serial).as_str());
        }
        Slip::CloseUnnamed => encode::close_statement(out, ""),
        Slip::Describe(serial) => {
            encode::describe_statement(out, ServerName::new(*serial).as_str());
        }
        Slip::DescribeUnnamed => encode::describe_statement(out, ""),
        Slip::Empty(name) => encode::parse(out, name, EMPTY),
        Slip::Flush => encode::flush(out),
        Slip::Hollow(serial, statement) => {
            let types = statement.parameters().unwrap_or(&EMPTY[1..]);
            encode::parse_as(out, ServerName::new(*serial).as_bytes(), &EMPTY[..1], types);
        }
        Slip::HollowUnnamed => {
            let types = statements.unnamed_parameters().unwrap_or(&EMPTY[1..]);
            encode::parse_as(out, b"", &EMPTY[..1], types);
        }
        Slip::Own(name, statement) => {
            statement.write_parse(out, name);
        }
        Slip::Sync => encode::sync(out),
        Slip::Occupy => encode::parse(out, ServerName::new(0).as_bytes(), EMPTY),
        Slip::Parse(serial, statement) => {
            let name = ServerName::new(*serial);
            statement.write_parse(out, name.as_bytes());
        }
        Slip::ParseUnnamed => {
            let body = statements.unnamed_body().unwrap_or(EMPTY);
            write_parse(out, b"", body, statements.unnamed_parameters());
        }
    }
}
