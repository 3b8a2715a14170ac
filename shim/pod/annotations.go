package pod

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Annotations say what a Pod document has no field for. Each is for one container, named after the slash.
const (
	annotationExec   = "io.cloister.exec/"   // JSON: list of argument lists that may be executed in the container
	annotationEnv    = "io.cloister.env/"    // JSON: list of EnvRule for variables whose value is known at run time only
	annotationGrants = "io.cloister.grants/" // comma-separated names of what the agent gives the container
)

// EnvRule allows environment entries ("NAME=value" as a whole) beyond those of the document.
type EnvRule struct {
	Pattern  string `json:"pattern"`
	Strategy string `json:"strategy"` // "string" or "re2"
	Required bool   `json:"required"`
}

// Matches tells whether the rule speaks of this "NAME=value" entry.
func (r EnvRule) Matches(entry string) bool {
	if r.Strategy == "string" {
		return r.Pattern == entry
	}
	re, err := regexp.Compile("^(?:" + r.Pattern + ")$")
	return err == nil && re.MatchString(entry)
}

type containerAnnotations struct {
	exec   [][]string
	env    []EnvRule
	grants []string
}

// parseAnnotations refuses an io.cloister annotation that it does not know: a misspelt one would silently narrow or widen
// the policy. Annotations of others are not ours to judge and have no effect.
func parseAnnotations(annotations map[string]string, containers []string) (map[string]containerAnnotations, error) {
	parsed := map[string]containerAnnotations{}
	for key, value := range annotations {
		if !strings.HasPrefix(key, "io.cloister.") {
			continue
		}
		prefix, container, _ := strings.Cut(key, "/")
		if !slices.Contains(containers, container) {
			return nil, fmt.Errorf("metadata.annotations[%q]: the pod has no container %q", clip(key), clip(container))
		}
		a := parsed[container]
		var err error
		switch prefix + "/" {
		case annotationExec:
			a.exec, err = parseExec(value)
		case annotationEnv:
			a.env, err = parseEnvRules(value)
		case annotationGrants:
			a.grants, err = parseGrants(value)
		default:
			err = fmt.Errorf("not known")
		}
		if err != nil {
			return nil, fmt.Errorf("metadata.annotations[%q]: %w", clip(key), err)
		}
		parsed[container] = a
	}
	return parsed, nil
}

func parseExec(value string) ([][]string, error) {
	var commands [][]string
	if err := decodeStrict(value, &commands); err != nil {
		return nil, err
	}
	for i, argv := range commands {
		if len(argv) == 0 || argv[0] == "" {
			return nil, fmt.Errorf("command %d is empty", i)
		}
	}
	return commands, nil
}

func parseEnvRules(value string) ([]EnvRule, error) {
	var rules []EnvRule
	if err := decodeStrict(value, &rules); err != nil {
		return nil, err
	}
	for i, r := range rules {
		switch r.Strategy {
		case "string":
		case "re2":
			if _, err := regexp.Compile(r.Pattern); err != nil {
				return nil, fmt.Errorf("rule %d: %w", i, err)
			}
		default:
			return nil, fmt.Errorf("rule %d: strategy is %q, want \"string\" or \"re2\"", i, clip(r.Strategy))
		}
		if !strings.Contains(r.Pattern, "=") {
			return nil, fmt.Errorf("rule %d: pattern has no %q, so it does not speak of NAME=value", i, "=")
		}
	}
	return rules, nil
}

func parseGrants(value string) ([]string, error) {
	var grants []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if _, ok := grantMounts[name]; !ok {
			return nil, fmt.Errorf("grant %q is not known", clip(name))
		}
		if slices.Contains(grants, name) {
			return nil, fmt.Errorf("grant %q is named twice", name)
		}
		grants = append(grants, name)
	}
	slices.Sort(grants)
	return grants, nil
}

func decodeStrict(value string, into any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(value)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("text after the JSON value")
	}
	return nil
}
