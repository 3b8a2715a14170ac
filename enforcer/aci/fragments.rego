# Fragments: signed texts of other parties that add to what the policy allows, as far as the policy lets them.
#
# load_fragment is asked twice. First with input.fragment_loaded false, when nothing of the fragment is known but who signed it
# and what for: nobody's Rego comes near the engine before the policy named its issuer. Then once for each object of
# parameters the first answer named, with the fragment's own lists in data["fragment being loaded"]. What the policy includes of
# them is written to data.metadata.issuers and read from there by the lists of this framework, so that a fragment adds data
# and no rules. The one exception is an include of "namespace": the answer's add_module then keeps the fragment's package for the
# policy's own rules to read.
#
# The key has blanks, so no fragment can have a package of that name and answer for another.
package framework

import rego.v1

# ---------------------------------------------------------------- what loaded fragments add

default fragments_loaded := false

fragments_loaded if data.metadata.issuers

# loaded(name): the entries of one list of all loaded fragments, by issuer, feed, and the order they were loaded in. A
# policy that is ahead of this framework gets nothing from fragments either.
loaded(name) := [entry |
	framework_version_ok
	some issuer in data.metadata.issuers
	some feed in issuer.feeds
	some fragment in feed
	some entry in fragment[name]
]

# ---------------------------------------------------------------- which entries speak of this fragment

default policy_fragments := []

policy_fragments := untyped(data.policy.fragments) if framework_version_ok

candidate_fragments := array.concat(policy_fragments, loaded("fragments"))

issuer_fragments := [entry |
	some entry in candidate_fragments
	entry.issuer == input.issuer
]

feed_fragments := [entry |
	some entry in issuer_fragments
	entry.feed == input.feed
]

# ---------------------------------------------------------------- security versions

# An SVN is a number, as such or as a string, or a semantic version, which is what the first tools wrote. The two do not
# compare: 2 is neither above nor below 1.0.0.
svn_number(svn) := svn if is_number(svn)

svn_number(svn) := to_number(svn) if {
	is_string(svn)
	regex.match(`^(0|[1-9][0-9]{0,17})$`, svn)
}

svn_version(svn) := svn if {
	is_string(svn)
	semver.is_valid(svn)
}

svn_at_least(svn, minimum) if svn_number(svn) >= svn_number(minimum)

svn_at_least(svn, minimum) if semver.compare(svn_version(svn), svn_version(minimum)) >= 0

svn_comparable(a, b) if {
	is_number(svn_number(a))
	is_number(svn_number(b))
}

svn_comparable(a, b) if {
	is_string(svn_version(a))
	is_string(svn_version(b))
}

# What is known of the fragment's SVN: from the signed header, and from the text once that may be read. If both say
# something they have to agree, and each has to reach the minimum.
fragment_svns contains input.header_svn if input.has_header_svn == true

fragment_svns contains loading.svn if input.fragment_loaded == true

default svns_agree := false

svns_agree if count(fragment_svns) == 1

svns_agree if {
	input.has_header_svn == true
	svn_number(input.header_svn) == svn_number(loading.svn)
}

# Without an SVN in the header there is nothing to compare yet: the second question does.
svn_ok(_) if {
	input.fragment_loaded == false
	input.has_header_svn == false
}

svn_ok(entry) if {
	svns_agree
	every svn in fragment_svns {
		svn_at_least(svn, entry.minimum_svn)
	}
}

# ---------------------------------------------------------------- receipts

# A receipt proves that a ledger holds the fragment. Required is a ledger by its name, any ledger that a trust list of
# a subject vouches for, or any ledger at all. All of an entry's requirements must hold.
receipt_ok("*") if count(input.receipts) > 0

receipt_ok(required) if {
	not startswith(required, "TTL:")
	some receipt in input.receipts
	receipt.issuer == required
}

receipt_ok(required) if {
	startswith(required, "TTL:")
	some receipt in input.receipts
	trim_prefix(required, "TTL:") in receipt.ttl_subjects
}

receipts_ok(entry) if not "required_receipts" in object.keys(entry)

receipts_ok(entry) if {
	is_array(entry.required_receipts)
	every required in entry.required_receipts {
		receipt_ok(required)
	}
}

# ---------------------------------------------------------------- load_fragment

entry_parameters(entry) := parameters if {
	parameters := object.get(entry, "parameters", {})
	is_object(parameters)
}

fragment_entries := [entry |
	some entry in feed_fragments
	svn_ok(entry)
	receipts_ok(entry)
]

fragment_parameters := {entry_parameters(entry) | some entry in fragment_entries}

# The fragment as it is for one object of parameters.
loading := untyped(data["fragment being loaded"])

fragment_framework_version := loading.framework_version

fragment_framework_version := loading.framework_svn if not loading.framework_version

default fragment_framework_ok := false

fragment_framework_ok if semver.compare(fragment_framework_version, version) <= 0

fragment_older(v) if semver.compare(fragment_framework_version, v) < 0

fragment_includes := {include |
	some entry in fragment_entries
	entry_parameters(entry) == loading.parameters
	some include in entry.includes
}

# What a policy may include, and the framework version that brought it.
fragment_lists := {
	"containers": "0.1.0",
	"external_processes": "0.1.0",
	"fragments": "0.1.0",
	"platform_rules": "0.5.0",
	"transparency_trust_lists": "0.5.0",
}

# A list of another shape would be no list to the rules that read it: say so instead of dropping it.
odd_lists contains name if {
	some name, _ in fragment_lists
	name in fragment_includes
	not is_array(object.get(loading, name, []))
}

# Containers are completed with the defaults of the fragment's time, not of the policy's.
extracted[name] := loading[name] if {
	some name, since in fragment_lists
	name in fragment_includes
	name != "containers"
	not fragment_older(since)
}

extracted.containers := loading.containers if {
	"containers" in fragment_includes
	not fragment_older(version)
}

extracted.containers := completed(loading.containers, fragment_framework_version) if {
	"containers" in fragment_includes
	fragment_older(version)
}

default feeds_before := {}

feeds_before := data.metadata.issuers[input.issuer].feeds

# The same fragment a second time adds nothing: otherwise the host could grow the state without end.
feed_after := object.get(feeds_before, input.feed, []) if extracted in feeds_before[input.feed]

else := array.concat(object.get(feeds_before, input.feed, []), [extracted])

default load_fragment := {"allowed": false, "add_module": false}

load_fragment := {
	"allowed": true,
	"add_module": false,
	"parameters": [parameters | some parameters in fragment_parameters],
} if {
	input.fragment_loaded == false
	count(fragment_parameters) > 0
}

load_fragment := {
	"allowed": true,
	"add_module": "namespace" in fragment_includes,
	"metadata": [
		{
			"name": "issuers",
			"action": "update",
			"key": input.issuer,
			"value": {"feeds": object.union(feeds_before, {input.feed: feed_after})},
		},
		{
			"name": "fragment_parameters",
			"type": "set",
			"action": "add",
			"value": {"issuer": input.issuer, "feed": input.feed, "parameters": loading.parameters},
		},
	],
} if {
	input.fragment_loaded == true
	fragment_framework_ok
	loading.parameters in fragment_parameters
	count(odd_lists) == 0
}

# ---------------------------------------------------------------- transparency trust lists

default policy_trust_lists := []

policy_trust_lists := untyped(data.policy.transparency_trust_lists) if {
	framework_version_ok
	not older("0.5.0")
}

candidate_trust_lists := array.concat(policy_trust_lists, loaded("transparency_trust_lists"))

issuer_trust_lists := [entry |
	some entry in candidate_trust_lists
	entry.issuer == input.issuer
]

subject_trust_lists := [entry |
	some entry in issuer_trust_lists
	entry.subject == input.subject
]

fresh_trust_lists := [entry |
	some entry in subject_trust_lists
	svn_at_least(input.svn, entry.minimum_svn)
]

trusted_ledgers contains ledger if {
	some entry in fresh_trust_lists
	some ledger in input.ledgers
	ledger_named(entry.allowed_ledgers, ledger)
}

ledger_named(names, ledger) if ledger in names

ledger_named(names, _) if "*" in names

default load_transparency_trust_list := {"allowed": false}

load_transparency_trust_list := {"allowed": true, "allowed_ledgers": [ledger | some ledger in trusted_ledgers]} if {
	count(trusted_ledgers) > 0
}

# ---------------------------------------------------------------- reasons

errors contains "invalid fragment issuer" if {
	input.rule == "load_fragment"
	count(issuer_fragments) == 0
}

errors contains "invalid fragment feed" if {
	input.rule == "load_fragment"
	count(issuer_fragments) > 0
	count(feed_fragments) == 0
}

# The SVN is the cause only where the feed is right and no entry takes it.
svn_refused if {
	input.rule == "load_fragment"
	count(feed_fragments) > 0
	count([1 | some entry in feed_fragments; svn_ok(entry)]) == 0
}

errors contains "missing fragment svn in either header or rego payload" if {
	svn_refused
	count(fragment_svns) == 0
}

errors contains sprintf("svn in header %v does not match svn in fragment rego %v", [input.header_svn, loading.svn]) if {
	svn_refused
	input.has_header_svn == true
	not svns_agree
}

errors contains "fragment svn is below the specified minimum" if {
	svn_refused
	some entry in feed_fragments
	some svn in fragment_svns
	svn_comparable(svn, entry.minimum_svn)
	not svn_at_least(svn, entry.minimum_svn)
}

errors contains "fragment svn and the specified minimum are different types" if {
	svn_refused
	some entry in feed_fragments
	some svn in fragment_svns
	not svn_comparable(svn, object.get(entry, "minimum_svn", null))
}

errors contains sprintf("missing receipt from %s", [required]) if {
	input.rule == "load_fragment"
	count(fragment_entries) == 0
	some entry in feed_fragments
	svn_ok(entry)
	some required in entry.required_receipts
	not receipt_ok(required)
}

text_judged if {
	input.rule == "load_fragment"
	input.fragment_loaded == true
}

errors contains "fragment framework_version is missing" if {
	text_judged
	not fragment_framework_version
}

errors contains sprintf("fragment framework_version is ahead of the current version: %s is greater than %s", [fragment_framework_version, version]) if {
	text_judged
	semver.compare(fragment_framework_version, version) > 0
}

errors contains "fragment framework_version is not a semantic version" if {
	text_judged
	fragment_framework_version
	not semver.is_valid(fragment_framework_version)
}

errors contains sprintf("fragment list is not an array: %s", [name]) if {
	text_judged
	some name in odd_lists
}

errors contains "invalid transparency trust list issuer" if {
	input.rule == "load_transparency_trust_list"
	count(issuer_trust_lists) == 0
}

errors contains "invalid transparency trust list subject" if {
	input.rule == "load_transparency_trust_list"
	count(issuer_trust_lists) > 0
	count(subject_trust_lists) == 0
}

errors contains "transparency trust list svn is below the specified minimum" if {
	input.rule == "load_transparency_trust_list"
	count(subject_trust_lists) > 0
	count(fresh_trust_lists) == 0
}

errors contains "no ledger of the transparency trust list is allowed" if {
	input.rule == "load_transparency_trust_list"
	count(fresh_trust_lists) > 0
	count(trusted_ledgers) == 0
}
