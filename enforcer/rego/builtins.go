package rego

import "github.com/open-policy-agent/opa/v1/ast"

// pureBuiltins are the built-in functions a policy may call: an allow-list, so that a newer engine cannot bring one along
// that reaches the network, the clock, the environment, a file, a random source or the process. Left out besides those:
// everything about tokens and certificates (some of it reads the clock), GraphQL, JSON schemas (they fetch references),
// Rego parsing, the text templates, and the time functions (time zones and local time are files).
var pureBuiltins = []string{
	// Comparison, assignment, membership.
	"assign", "eq", "equal", "neq", "lt", "lte", "gt", "gte", "internal.member_2", "internal.member_3",
	"internal.print", "print", "trace", "internal.template_string", "internal.test_case",
	// Numbers and bits.
	"abs", "ceil", "div", "floor", "format_int", "minus", "mul", "plus", "rem", "round", "to_number",
	"numbers.range", "numbers.range_step", "bits.and", "bits.lsh", "bits.negate", "bits.or", "bits.rsh", "bits.xor",
	// Aggregates, arrays, sets, objects.
	"all", "any", "count", "max", "min", "product", "sort", "sum", "and", "or", "set_diff", "union", "intersection",
	"array.concat", "array.flatten", "array.reverse", "array.slice", "object.filter", "object.get", "object.keys",
	"object.remove", "object.subset", "object.union", "object.union_n", "graph.reachable", "graph.reachable_paths",
	"json.filter", "json.patch", "json.remove", "walk",
	// Strings and patterns.
	"concat", "contains", "endswith", "indexof", "indexof_n", "lower", "replace", "split", "sprintf", "startswith",
	"strings.any_prefix_match", "strings.any_suffix_match", "strings.count", "strings.replace_n", "strings.reverse",
	"strings.split_n", "substring", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix",
	"upper", "re_match", "regex.find_all_string_submatch_n", "regex.find_n", "regex.globs_match", "regex.is_valid",
	"regex.match", "regex.replace", "regex.split", "regex.template_match", "glob.match", "glob.quote_meta",
	// Types and conversions.
	"cast_array", "cast_boolean", "cast_null", "cast_object", "cast_set", "cast_string", "is_array", "is_boolean",
	"is_null", "is_number", "is_object", "is_set", "is_string", "type_name", "units.parse", "units.parse_bytes",
	"semver.compare", "semver.is_valid", "uuid.parse",
	// Encodings, digests, addresses.
	"base64.decode", "base64.encode", "base64.is_valid", "base64url.decode", "base64url.encode",
	"base64url.encode_no_pad", "hex.decode", "hex.encode", "json.is_valid", "json.marshal",
	"json.marshal_with_options", "json.unmarshal", "urlquery.decode", "urlquery.decode_object", "urlquery.encode",
	"urlquery.encode_object", "yaml.is_valid", "yaml.marshal", "yaml.unmarshal", "uri.is_valid", "uri.parse",
	"crypto.md5", "crypto.sha1", "crypto.sha256", "crypto.hmac.equal", "crypto.hmac.md5", "crypto.hmac.sha1",
	"crypto.hmac.sha256", "crypto.hmac.sha512", "net.cidr_contains", "net.cidr_contains_matches", "net.cidr_intersects",
	"net.cidr_is_valid", "net.cidr_merge", "net.cidr_overlap",
}

// capabilities is what the compiler knows of the language: the allow-list above, and no network host at all.
func capabilities() *ast.Capabilities {
	allowed := make(map[string]bool, len(pureBuiltins))
	for _, name := range pureBuiltins {
		allowed[name] = true
	}
	caps := ast.CapabilitiesForThisVersion()
	kept := make([]*ast.Builtin, 0, len(pureBuiltins))
	for _, b := range caps.Builtins {
		if allowed[b.Name] && !b.Nondeterministic {
			kept = append(kept, b)
		}
	}
	caps.Builtins = kept
	caps.AllowNet = []string{}
	return caps
}
