//! What may stand before a parenthesis in a read, and what not behind a dot.

use crate::sql::tokens::is;

/// Functions of Postgres that change nothing, wait for nothing, run no text, and do not depend on what the
/// session did before. Not all of them: those that are met. Sorted.
#[rustfmt::skip]
pub const HARMLESS: [&str; 270] = [
    "abs", "acos", "age", "array_agg", "array_append", "array_cat", "array_dims", "array_length",
    "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend",
    "array_remove", "array_replace", "array_to_json", "array_to_string", "array_upper", "ascii",
    "asin", "atan", "atan2", "avg", "bit_and", "bit_count", "bit_length", "bit_or", "bool_and",
    "bool_or", "broadcast", "btrim", "cardinality", "cbrt", "ceil", "ceiling", "char_length",
    "character_length", "chr", "clock_timestamp", "coalesce", "concat", "concat_ws", "corr", "cos",
    "cot", "count", "covar_pop", "covar_samp", "cume_dist", "current_database", "current_setting",
    "current_user", "date", "date_bin", "date_part", "date_trunc", "decode", "degrees",
    "dense_rank", "div", "encode", "every", "exp", "extract", "factorial", "family", "first_value",
    "floor", "format", "format_type", "gcd", "generate_series", "generate_subscripts", "get_bit",
    "get_byte", "greatest", "grouping", "has_column_privilege", "has_database_privilege",
    "has_schema_privilege", "has_table_privilege", "height", "host", "hostmask", "initcap",
    "int4range", "int8range", "isempty", "isfinite", "json_agg", "json_array_elements",
    "json_array_elements_text", "json_array_length", "json_build_array", "json_build_object",
    "json_each", "json_each_text", "json_extract_path", "json_extract_path_text", "json_object",
    "json_object_agg", "json_object_keys", "json_strip_nulls", "json_to_record",
    "json_to_recordset", "json_typeof", "jsonb_agg", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object",
    "jsonb_each", "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text",
    "jsonb_insert", "jsonb_object", "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists",
    "jsonb_path_match", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_first",
    "jsonb_pretty", "jsonb_set", "jsonb_strip_nulls", "jsonb_to_record", "jsonb_to_recordset",
    "jsonb_typeof", "justify_days", "justify_hours", "justify_interval", "lag", "last_value", "lcm",
    "lead", "least", "left", "length", "ln", "localtime", "localtimestamp", "log", "log10", "lower",
    "lower_inc", "lower_inf", "lpad", "ltrim", "make_date", "make_interval", "make_time",
    "make_timestamp", "make_timestamptz", "masklen", "max", "md5", "min", "mod", "mode", "netmask",
    "network", "now", "nth_value", "ntile", "nullif", "num_nonnulls", "num_nulls", "numrange",
    "obj_description", "octet_length", "overlay", "percent_rank", "percentile_cont",
    "percentile_disc", "pg_column_size", "pg_get_constraintdef", "pg_get_expr", "pg_get_indexdef",
    "pg_get_serial_sequence", "pg_get_userbyid", "pg_get_viewdef", "pg_table_is_visible",
    "pg_type_is_visible", "pg_typeof", "phraseto_tsquery", "pi", "plainto_tsquery", "position",
    "power", "quote_ident", "quote_literal", "quote_nullable", "radians", "range_merge", "rank",
    "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches",
    "regexp_replace", "regexp_split_to_array", "regexp_split_to_table", "regexp_substr", "repeat",
    "replace", "reverse", "right", "round", "row_number", "row_to_json", "rpad", "rtrim", "scale",
    "sha224", "sha256", "sha384", "sha512", "sign", "sin", "split_part", "sqrt", "starts_with",
    "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
    "string_to_table", "strpos", "substr", "substring", "sum", "tan", "text", "to_ascii", "to_char",
    "to_date", "to_hex", "to_json", "to_jsonb", "to_number", "to_timestamp", "to_tsquery",
    "to_tsvector", "transaction_timestamp", "translate", "trim", "trim_array", "trim_scale",
    "trunc", "ts_headline", "ts_rank", "ts_rank_cd", "tsrange", "tstzrange", "unnest", "upper",
    "upper_inc", "upper_inf", "var_pop", "var_samp", "variance", "version", "websearch_to_tsquery",
    "width_bucket",
];

/// Words of which none can be the name of a function without quotes. Sorted.
#[rustfmt::skip]
pub const SYNTAX: [&str; 45] = [
    "all", "and", "any", "array", "as", "between", "bit", "case", "cast", "char", "character",
    "dec", "decimal", "distinct", "else", "except", "exists", "float", "from", "having",
    "in", "intersect", "interval", "lateral", "limit", "nchar", "not",
    "numeric", "offset", "on", "only", "or", "row", "select", "some", "then", "time",
    "timestamp", "to", "union", "using", "values", "varchar", "when", "where",
];

/// What stands before a `JOIN`, which may be a function elsewhere.
const JOINS: [&str; 7] = ["cross", "full", "inner", "left", "natural", "outer", "right"];

/// Functions of Postgres with effects that can be called with one argument, beside those whose names begin
/// with `pg_`. Sorted.
const EFFECTS: [&str; 19] = [
    "amvalidate",
    "brin_summarize_new_values",
    "current_schemas",
    "currval",
    "gin_clean_pending_list",
    "lo_close",
    "lo_creat",
    "lo_create",
    "lo_get",
    "lo_import",
    "lo_tell",
    "lo_tell64",
    "lo_unlink",
    "nextval",
    "plpgsql_validator",
    "random_normal",
    "setseed",
    "ts_stat",
    "txid_status",
];

/// The schema of Postgres' own functions and tables.
pub(super) const CATALOG: &str = "pg_catalog";

/// Whether what looks like a column of this name, in lower case, may be a call: `x.f` is `f(x)` where `x` has
/// no column `f`, be `x` the only value of a row. `of`: what it would be a column of.
pub(super) fn may_be_called_as_column(name: &[u8], of: &[u8]) -> bool {
    // Nothing else is called like Postgres' tables.
    let is_table = is(of, CATALOG);
    (name.starts_with(b"pg_") && !is_table)
        || name.starts_with(b"binary_upgrade_")
        || contains(&EFFECTS, name)
}

/// Whether this name, in lower case, is a harmless function.
pub(super) fn is_harmless(name: &[u8]) -> bool {
    contains(&HARMLESS, name)
}

/// Whether this word, in lower case, is no function there. `before`: the token before it.
pub(super) fn is_syntax(word: &[u8], before: &[u8]) -> bool {
    contains(&SYNTAX, word)
        || match word {
            b"by" => ["group", "order", "partition"].iter().any(|clause| is(before, clause)),
            // What stands in parentheses can be called by nobody.
            b"filter" | b"over" => before == b")",
            b"group" => is(before, "within"),
            b"join" => JOINS.iter().any(|kind| is(before, kind)),
            b"varying" => ["bit", "char", "character"].iter().any(|kind| is(before, kind)),
            // A name that is given here, with those of its columns; or what is behind `AS`.
            _ => ["as", "recursive", "with"].iter().any(|giving| is(before, giving)),
        }
}

fn contains(sorted: &[&str], word: &[u8]) -> bool {
    sorted.binary_search_by(|known| known.as_bytes().cmp(word)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{EFFECTS, HARMLESS, SYNTAX, contains};

    #[test]
    fn what_is_searched_is_sorted() {
        assert!(HARMLESS.is_sorted() && SYNTAX.is_sorted() && EFFECTS.is_sorted());
        assert!(HARMLESS.iter().all(|function| contains(&HARMLESS, function.as_bytes())));
    }
}
