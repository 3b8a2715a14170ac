package policylint

import (
	"cmp"
	"fmt"
	"slices"
)

// code is one kind of finding. The numbers are part of what users write into their scripts: they never change, and one that
// is given up is not used again.
type code int

const (
	doesNotLoad       code = 1
	tooLong           code = 2
	noAPIVersion      code = 3
	noFramework       code = 4
	frameworkAhead    code = 5
	apiAhead          code = 6
	legacyName        code = 7
	oldSyntax         code = 8
	noReason          code = 9
	wrongType         code = 10
	unknownField      code = 11
	missingField      code = 12
	unreadList        code = 13
	duplicateKey      code = 14
	defaultAllows     code = 101
	defaultElse       code = 102
	pointMissing      code = 103
	alwaysAllowed     code = 104
	unknownPoint      code = 105
	misdelegated      code = 106
	ownRule           code = 107
	pointNeeded       code = 108
	opensLogging      code = 201
	opensStacks       code = 202
	opensScratch      code = 203
	opensNetwork      code = 204
	opensProperties   code = 205
	dropsEnv          code = 206
	dropsCaps         code = 207
	flagTooNew        code = 208
	unknownFlag       code = 209
	commandNever      code = 301
	layersEmpty       code = 302
	layerForm         code = 303
	elevated          code = 304
	identical         code = 305
	stdioTwins        code = 306
	droppingTwins     code = 307
	stdioOpen         code = 308
	shell             code = 309
	userNever         code = 310
	unknownCapability code = 311
	strongCapability  code = 312
	mountNever        code = 313
	anyUser           code = 314
	sameName          code = 315
	invalidRE2        code = 401
	openAlternative   code = 402
	dotInName         code = 403
	anyValue          code = 404
	anyVariable       code = 405
	secret            code = 406
	unknownStrategy   code = 407
	ruleNever         code = 408
	literalPattern    code = 409
	anySource         code = 410
	platformValue     code = 411
	externalProcess   code = 501
	svnZero           code = 502
	issuerForm        code = 503
	fragmentIncludes  code = 504
	anyLedger         code = 505
)

// Code describes a kind of finding.
type Code struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// What is what was found, Fix what to do about it; PATH in it is the finding's.
	What string `json:"what"`
	Fix  string `json:"fix"`
}

var codeTable = []struct {
	code     code
	severity Severity
	what     string
	fix      string
}{
	{doesNotLoad, Error, "the text does not load", "correct the text; nothing else was checked"},
	{tooLong, Error, "the text is longer than an agent takes", "split the policy, or move containers into fragments"},
	{noAPIVersion, Error, "no `api_version`: every request is refused", "add api_version := \"0.12.0\""},
	{noFramework, Error, "no usable `framework_version`: every request that the framework decides is refused", "add framework_version := \"0.5.0\""},
	{frameworkAhead, Error, "`framework_version` is ahead of the agent's: every request that the framework decides is refused", "use the agent's framework_version or a newer agent"},
	{apiAhead, Warning, "`api_version` is ahead of the agent's: points that the agent does not know are never asked", "use the agent's api_version or a newer agent"},
	{legacyName, Info, "a version is given by its old name", "write api_version and framework_version; HOST_DATA changes with the text"},
	{oldSyntax, Info, "the text is Rego v0, which other engines of today refuse", "write `if` and `contains`, or import rego.v1"},
	{noReason, Info, "no rule `reason`: refusals are not explained", "add reason := {\"errors\": data.framework.errors}"},
	{wrongType, Error, "a value of the wrong type, which nothing matches", "write the value as the contract has it"},
	{unknownField, Warning, "a field that nobody looks at", "correct the name, or leave the field out"},
	{missingField, Error, "a field is missing that this `framework_version` has: the entry matches nothing", "add the field"},
	{unreadList, Info, "a list cannot be known without a request, so it was not checked", "write the list as a constant"},
	{duplicateKey, Error, "a key is there twice: the later one counts, and a reader sees the first", "leave one of them out"},
	{defaultAllows, Warning, "no rule for a point that the `api_version` does not know: it is allowed by default", "raise api_version and add the rule, or start the agent with cloister.strict_api=1"},
	{defaultElse, Info, "no rule for a point that the `api_version` does not know: the default refuses, or asks the framework", "nothing, if this is what you want"},
	{pointMissing, Warning, "no rule for a point that the `api_version` knows: it is refused", "add the rule PATH := data.framework.PATH"},
	{alwaysAllowed, Warning, "a point is allowed whatever is asked", "delegate: PATH := data.framework.PATH"},
	{unknownPoint, Warning, "a rule delegates to the framework and is no enforcement point", "correct the name; nobody asks this rule"},
	{misdelegated, Error, "a point delegates to another rule of the framework than its own", "write PATH := data.framework.PATH"},
	{ownRule, Info, "a rule of its own decides: it was not checked, and the policy is judged by the Rego engine", "nothing, if this is what you want"},
	{pointNeeded, Error, "no rule for a point without which no container starts", "add the rule PATH := data.framework.PATH"},
	{opensLogging, Warning, "the host may read the agent's log", "set allow_runtime_logging := false"},
	{opensStacks, Warning, "the host may read the agent's stacks", "set allow_dump_stacks := false"},
	{opensScratch, Warning, "writable layers may be unencrypted", "set allow_unencrypted_scratch := false"},
	{opensNetwork, Warning, "containers may use the guest's own network namespace", "set allow_host_network := false"},
	{opensProperties, Info, "the host may read process lists and statistics", "set allow_properties_access := false if nobody needs them"},
	{dropsEnv, Info, "variables that no rule allows are dropped, and the container starts without them", "set allow_environment_variable_dropping := false to refuse instead"},
	{dropsCaps, Info, "capabilities that the policy does not list are dropped, and the container starts without them", "set allow_capability_dropping := false to refuse instead"},
	{flagTooNew, Warning, "a flag is set that the `framework_version` does not know: it has no effect", "raise framework_version"},
	{unknownFlag, Warning, "a rule `allow_...` is no flag of the contract: it has no effect", "correct the name"},
	{commandNever, Error, "a command that can never match: null, empty or absent", "give the image a command, and write the policy anew"},
	{layersEmpty, Error, "no layers: no image is like that", "list the root hashes of the image's layers, base first"},
	{layerForm, Error, "a layer is no root hash: 64 lower-case hex digits", "take the hash from \"cloister layer root\""},
	{elevated, Warning, "`allow_elevated`: the container may be privileged", "set allow_elevated to false if the workload does not need it"},
	{identical, Warning, "the same as another container: it allows nothing more", "leave one of them out"},
	{stdioTwins, Error, "two containers differ in `allow_stdio_access` alone: neither can be created", "give both the same allow_stdio_access"},
	{droppingTwins, Warning, "two containers differ only in what dropping decides: a tie refuses, and the larger set wins otherwise", "let them differ in command or layers, or switch dropping off"},
	{stdioOpen, Info, "the host reads and writes the container's standard streams", "set allow_stdio_access to false if nobody needs them"},
	{shell, Warning, "a shell may be executed in the container", "list the commands that are needed instead"},
	{userNever, Error, "a rule about user, group or umask that can never match", "correct the rule"},
	{unknownCapability, Warning, "no such capability", "use the kernel's name, CAP_..."},
	{strongCapability, Warning, "a capability that is as good as root of the guest", "leave it out if the workload does not need it"},
	{mountNever, Error, "a mount that can never match", "correct the entry"},
	{anyUser, Info, "any user is allowed, root included", "name the user by id"},
	{sameName, Info, "two containers have the same name: refusals cannot tell them apart", "give each its own name"},
	{invalidRE2, Error, "a pattern that is no RE2 expression: it matches nothing", "correct the pattern"},
	{openAlternative, Warning, "alternatives outside a group", "put them into a group: (?:a|b)"},
	{dotInName, Warning, "an unescaped dot, which matches any character", "write \\. for a dot"},
	{anyValue, Warning, "any value is allowed", "write down which values the workload expects"},
	{anyVariable, Warning, "a rule allows variables that change what programs do, or every variable", "name the variables"},
	{secret, Warning, "a value looks like a secret: policies are not secret", "deliver it after attestation; then take it out of the policy, and change the secret"},
	{unknownStrategy, Error, "a strategy that does not exist: the rule matches nothing", "use string or re2"},
	{ruleNever, Warning, "a rule that no variable can match", "write NAME=value"},
	{literalPattern, Info, "a pattern is compared literally, and looks like an expression", "use the strategy re2 if it is one"},
	{anySource, Warning, "any directory of the sandbox may be mounted", "name the directory"},
	{platformValue, Info, "the platform's variables may have any value, as the tools write it into every policy", "nothing, if the workload takes no order from them"},
	{externalProcess, Warning, "a process may run in the guest itself, outside any container", "leave it out if nothing needs it"},
	{svnZero, Warning, "`minimum_svn` is 0: fragments that were withdrawn are accepted", "use the version of the fragment you have read"},
	{issuerForm, Error, "an issuer that is no did:x509: no fragment can have it", "use the issuer that the fragment's author names"},
	{fragmentIncludes, Warning, "a fragment may bring nothing, or something that does not exist", "list what it may bring: containers, fragments, ..."},
	{anyLedger, Warning, "a trust list may speak for any ledger", "list the ledgers"},
}

func (c code) String() string { return fmt.Sprintf("CLP%03d", int(c)) }

func (c code) row() Code {
	for _, r := range codeTable {
		if r.code == c {
			return Code{Code: c.String(), Severity: r.severity, What: r.what, Fix: r.fix}
		}
	}
	return Code{Code: c.String(), Severity: Warning}
}

// Codes lists every kind of finding.
func Codes() []Code {
	var list []Code
	for _, r := range codeTable {
		list = append(list, r.code.row())
	}
	return list
}

// sorted puts the findings in the order of their codes; those of one code stay as they were found.
func (l *linter) sorted() []Finding {
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return cmp.Compare(a.Code, b.Code) })
	return l.findings
}
