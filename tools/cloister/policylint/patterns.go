package policylint

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/entry"
)

// pattern checks an RE2 expression, and is false for one that is none.
func (l *linter) pattern(place, text string) bool {
	if _, err := regexp.Compile(text); err != nil {
		l.add(invalidRE2, place, "it is no RE2 expression: %s", printable(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
		return false
	}
	if alternatives := splitAlternatives(text); len(alternatives) > 1 {
		l.add(openAlternative, place, "the alternatives are in no group: this agent takes each for the whole text, the reference anchors only the "+
			"first at its start and the last at its end")
	}
	if name := dottedName(text); name != "" {
		l.add(dotInName, place, "in %.64q the dot matches any character", printable(name))
	}
	return true
}

// scan calls f for every character of an expression that stands outside classes and escapes, with the depth of groups.
func scan(text string, f func(i, depth int)) {
	depth, class := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && strings.HasPrefix(text[i:], `\Q`):
			end := strings.Index(text[i:], `\E`)
			if end < 0 {
				return
			}
			i += end + 1
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
			// A bracket that comes first is one of the class.
			if strings.HasPrefix(text[i+1:], "^") {
				i++
			}
			if strings.HasPrefix(text[i+1:], "]") {
				i++
			}
		case c == '(':
			depth++
			f(i, depth)
		case c == ')':
			f(i, depth)
			depth--
		default:
			f(i, depth)
		}
	}
}

// splitAlternatives splits an expression at the bars that are in no group.
func splitAlternatives(text string) []string {
	var parts []string
	from := 0
	scan(text, func(i, depth int) {
		if text[i] == '|' && depth == 0 {
			parts, from = append(parts, text[from:i]), i+1
		}
	})
	return append(parts, text[from:])
}

// dottedName finds what looks like a host name, an address or a version with an unescaped dot in it.
func dottedName(text string) string {
	plain := make([]bool, len(text)+1)
	scan(text, func(i, _ int) {
		c := text[i]
		plain[i] = c == '.' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	})
	start := -1
	for i := 0; i <= len(text); i++ {
		switch {
		case plain[i] && start < 0:
			start = i
		case !plain[i] && start >= 0:
			run := text[start:i]
			// What follows belongs to the last character: a quantifier on a dot says that it means any character.
			if i < len(text) && strings.IndexByte("*+?{", text[i]) >= 0 {
				run = run[:len(run)-1]
			}
			for j := 1; j < len(run)-1; j++ {
				if run[j] == '.' && isWord(run[j-1]) && isWord(run[j+1]) {
					return run
				}
			}
			start = -1
		}
	}
	return ""
}

func isWord(c byte) bool { return c != '.' && c != '-' }

// matchesAll says whether a valid expression holds for all the texts.
func matchesAll(text string, probes ...string) bool {
	re, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return false
	}
	for _, p := range probes {
		if !re.MatchString(p) {
			return false
		}
	}
	return true
}

// anyProbes are values with nothing in common.
var anyProbes = []string{"q", "/tmp/x.so", `a "b" $(c) = d`, "0123456789", "\u00e9"}

// loaderVariables change which code programs run.
var loaderVariables = []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "PYTHONPATH", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS"}

// platformVariables are set by the platform to values that nobody knows beforehand; the tools write rules for them into
// every policy.
var platformVariables = regexp.MustCompile(`^(\(\?i\)\(FABRIC\)_|HOSTNAME=|T\(E\)\?MP=|FabricPackageFileName=|HostedServiceName=|IDENTITY_|APP_IDENTITY_ENDPOINT=|IMDS_ENDPOINT=|azurecontainerinstance_restarted_by=|AZURE_(CLIENT_ID|TENANT_ID|FEDERATED_TOKEN_FILE|AUTHORITY_HOST)=|\[A-Z0-9_\]\+_(SERVICE_(HOST|PORT)|PORT))`)

func (l *linter) envRules(place string, rules []*entry.EnvRule) {
	l.platform = nil
	defer func() {
		if len(l.platform) > 0 {
			l.add(platformValue, place+".env_rules", "the platform's variables may have any value: %s", printable(strings.Join(l.platform, ", ")))
		}
	}()
	for i, r := range rules {
		l.once(r, at(place+".env_rules", i), func() {
			if r.Whole {
				l.wholeRule("", r)
			}
			if r.Split {
				l.splitRule("", r)
			}
			if !r.Whole && !r.Split {
				l.add(missingField, "", "no pattern, and no name and value")
			}
		})
	}
}

func (l *linter) wholeRule(place string, r *entry.EnvRule) {
	name, value, found := strings.Cut(r.Pattern, "=")
	switch r.Strategy {
	case "string":
		if !found {
			l.add(ruleNever, place+".pattern", "%.64q has no \"=\", and every variable has one", printable(r.Pattern))
			return
		}
		if looksLikePattern(value) {
			l.add(literalPattern, place+".pattern", "the value of %.64s is compared literally, and looks like an expression", printable(name))
		}
		l.envSecret(place+".pattern", name, value)
	case "re2":
		if !l.pattern(place+".pattern", r.Pattern) {
			return
		}
		for _, text := range splitAlternatives(unwrap(r.Pattern)) {
			l.wholePattern(place+".pattern", text)
		}
	default:
		l.add(unknownStrategy, place+".strategy", "%.32q is no strategy", r.Strategy)
	}
}

// wholePattern checks one alternative of an expression over "NAME=value".
func (l *linter) wholePattern(place, text string) {
	if variables := allowedVariables(func(name string) bool { return matchesAll(text, name+"=q") || matchesAll(text, name+"=/tmp/x.so") }); variables != "" &&
		!literal(firstOf(strings.Cut(text, "="))) {
		l.add(anyVariable, place, "the rule allows %s", variables)
		return
	}
	name, value, found := strings.Cut(text, "=")
	switch {
	case !found && !strings.ContainsAny(text, `.[\(`):
		l.add(ruleNever, place, "%.64q has no \"=\", and every variable has one", printable(text))
	case found && matchesAll(value, anyProbes...):
		l.valueOpen(place, name)
	case found && literal(value):
		l.envSecret(place, name, value)
	}
}

// valueOpen tells of the platform's variables once a container: the tools write a dozen of them.
func (l *linter) valueOpen(place, name string) {
	if platformVariables.MatchString(name + "=") {
		l.platform = append(l.platform, name)
		return
	}
	l.add(anyValue, place, "%.64s may have any value", printable(name))
}

func firstOf(first, _ string, _ bool) string { return first }

func (l *linter) splitRule(place string, r *entry.EnvRule) {
	nameOK := l.half(place+".name", r.NameStrategy, r.Name)
	valueOK := l.half(place+".value", r.ValueStrategy, r.Value)
	if nameOK && r.NameStrategy == "re2" && !literal(r.Name) {
		if variables := allowedVariables(func(name string) bool { return matchesAll(r.Name, name) }); variables != "" {
			l.add(anyVariable, place+".name", "the rule allows %s", variables)
			return
		}
	}
	switch {
	case !valueOK:
	case r.ValueStrategy == "re2" && matchesAll(r.Value, anyProbes...):
		l.valueOpen(place+".value", r.Name)
	case r.ValueStrategy == "string" && looksLikePattern(r.Value):
		l.add(literalPattern, place+".value", "the value of %.64s is compared literally, and looks like an expression", printable(r.Name))
		fallthrough
	case r.ValueStrategy == "string" || literal(r.Value):
		l.envSecret(place+".value", r.Name, r.Value)
	}
}

func (l *linter) half(place, strategy, text string) bool {
	switch strategy {
	case "string":
		return true
	case "re2":
		return l.pattern(place, text)
	}
	l.add(unknownStrategy, place+"_strategy", "%.32q is no strategy", strategy)
	return false
}

// allowedVariables says which variables of consequence a rule allows.
func allowedVariables(allows func(name string) bool) string {
	if allows("Q7") && allows("some_name") && allows("LD_PRELOAD") {
		return "every variable"
	}
	var names []string
	for _, name := range loaderVariables {
		if allows(name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// unwrap takes the group off that is around a whole expression.
func unwrap(text string) string {
	inner, ok := strings.CutPrefix(text, "(?:")
	if !ok || !strings.HasSuffix(inner, ")") {
		return text
	}
	inner = inner[:len(inner)-1]
	closed := false
	scan(inner, func(i, depth int) { closed = closed || inner[i] == ')' && depth <= 0 })
	if _, err := regexp.Compile(inner); closed || err != nil {
		return text
	}
	return inner
}

// literal says that an expression has no character with a meaning but escaped ones.
func literal(text string) bool {
	return !strings.ContainsAny(text, `.*+?()[]{}|^$\`)
}

var patternSigns = regexp.MustCompile(`\.[*+]|\[[^\]]+\][*+{]|\\[dwsS][*+]|\(\?:`)

func looksLikePattern(value string) bool { return patternSigns.MatchString(value) }

var (
	secretName = regexp.MustCompile(`(?i)(pass(word|wd|phrase)?|pwd|secret|token|api_?key|access_?key|account_?key|private_?key|signing_?key|` +
		`encryption_?key|credentials?|conn(ection)?_?str(ing)?|sas)$`)
	secretValue = regexp.MustCompile(`-----BEGIN |\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[abpr]-|\beyJ[A-Za-z0-9_-]{8,}\.eyJ|` +
		`(?i)AccountKey=|SharedAccessKey=|[?&]sig=|\bSharedAccessSignature\b|://[^/@:\s]+:[^/@\s]+@`)
	secretFlag = regexp.MustCompile(`(?i)^--?(password|passwd|passphrase|secret|token|api-?key|access-?key|private-?key)=.+`)
	bareFlag   = regexp.MustCompile(`(?i)^--?(password|passwd|passphrase|secret|token|api-?key|access-?key|private-?key)$`)
)

func (l *linter) envSecret(place, name, value string) {
	switch {
	case value == "":
	case secretValue.MatchString(value):
		l.add(secret, place, "the value of %.64s looks like a secret", printable(name))
	// A path or address under such a name says where a secret is.
	case secretName.MatchString(name) && !strings.HasPrefix(value, "/") && !strings.Contains(value, "://"):
		l.add(secret, place, "%.64s is a name for a secret, and has a value here", printable(name))
	}
}

func (l *linter) commandSecrets(place string, command []string) {
	for i, arg := range command {
		bare := i > 0 && bareFlag.MatchString(command[i-1]) && !strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "/")
		if bare || secretFlag.MatchString(arg) || secretValue.MatchString(arg) {
			l.add(secret, fmt.Sprintf("%s[%d]", place, i), "the argument looks like a secret")
		}
	}
}
