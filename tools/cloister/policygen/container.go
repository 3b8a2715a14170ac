package policygen

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/verity"
)

// container is one entry of the policy's list, its fields in the order of their names.
type container struct {
	AllowElevated    bool         `json:"allow_elevated"`
	AllowStdioAccess bool         `json:"allow_stdio_access"`
	Capabilities     capabilities `json:"capabilities"`
	Command          []string     `json:"command"`
	EnvRules         []envRule    `json:"env_rules"`
	ExecProcesses    []process    `json:"exec_processes"`
	ID               string       `json:"id"`
	Layers           []string     `json:"layers"`
	Mounts           []mount      `json:"mounts"`
	Name             string       `json:"name"`
	NoNewPrivileges  bool         `json:"no_new_privileges"`
	SeccompSHA256    string       `json:"seccomp_profile_sha256"`
	Signals          []int        `json:"signals"`
	User             user         `json:"user"`
	WorkingDir       string       `json:"working_dir"`
}

type capabilities struct {
	Ambient     []string `json:"ambient"`
	Bounding    []string `json:"bounding"`
	Effective   []string `json:"effective"`
	Inheritable []string `json:"inheritable"`
	Permitted   []string `json:"permitted"`
}

type envRule struct {
	Pattern  string `json:"pattern"`
	Required bool   `json:"required"`
	Strategy string `json:"strategy"`
}

type process struct {
	Command []string `json:"command"`
	Signals []int    `json:"signals"`
}

type mount struct {
	Destination string   `json:"destination"`
	Options     []string `json:"options"`
	Source      string   `json:"source"`
	Type        string   `json:"type"`
}

type user struct {
	GroupIDNames []idName `json:"group_idnames"`
	Umask        string   `json:"umask"`
	UserIDName   idName   `json:"user_idname"`
}

type idName struct {
	Pattern  string `json:"pattern"`
	Strategy string `json:"strategy"`
}

// stopSignals may be sent to every process: a pod that cannot be stopped in order is killed with its VM anyway.
var stopSignals = []int{int(unix.SIGKILL), int(unix.SIGTERM)}

func newContainer(ctx context.Context, c *pod.Container, roots Roots, o Options) (*container, error) {
	if err := checkText(c); err != nil {
		return nil, err
	}
	out := &container{
		AllowElevated:    c.Privileged,
		AllowStdioAccess: !o.NoStdio,
		Capabilities: capabilities{
			Ambient: list(c.Capabilities.Ambient), Bounding: list(c.Capabilities.Bounding), Effective: list(c.Capabilities.Effective),
			Inheritable: list(c.Capabilities.Inheritable), Permitted: list(c.Capabilities.Permitted),
		},
		Command:         list(c.Args),
		EnvRules:        envRules(c),
		ExecProcesses:   []process{},
		ID:              c.ImageRef,
		Layers:          []string{},
		Mounts:          []mount{},
		Name:            c.Name,
		NoNewPrivileges: c.NoNewPrivileges,
		SeccompSHA256:   c.SeccompSHA256,
		User:            userOf(c),
		WorkingDir:      c.Cwd,
	}
	var err error
	if out.Signals, err = signals(c.StopSignal); err != nil {
		return nil, err
	}
	for _, argv := range c.Exec {
		if !slices.ContainsFunc(out.ExecProcesses, func(p process) bool { return slices.Equal(p.Command, argv) }) {
			out.ExecProcesses = append(out.ExecProcesses, process{Command: argv, Signals: stopSignals})
		}
	}
	for i, l := range c.Layers {
		root, err := l.Root, error(nil)
		if root == "" {
			root, err = roots(ctx, l)
		}
		if err == nil {
			_, err = verity.ParseHash(root)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		out.Layers = append(out.Layers, root)
	}
	for _, m := range c.Mounts {
		out.Mounts = append(out.Mounts, mount{Destination: m.Destination, Options: list(m.Options), Source: m.Source, Type: m.Type})
	}
	return out, nil
}

// list is the slice as JSON shall show it: empty, not null. Null capabilities or commands mean something else in a policy.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// envRules requires each variable with its exact value: a host that may leave one out could turn a setting off. Where the
// document gives a rule of its own for a variable, that rule stands instead. The rules of a cluster come last and stand for no
// variable of the document.
func envRules(c *pod.Container) []envRule {
	rules := []envRule{}
	for _, entry := range c.Env {
		if !slices.ContainsFunc(c.EnvRules, func(r pod.EnvRule) bool { return r.Matches(entry) }) {
			rules = append(rules, envRule{Pattern: entry, Required: true, Strategy: "string"})
		}
	}
	for _, r := range slices.Concat(c.EnvRules, c.Runtime) {
		pattern := r.Pattern
		if r.Strategy == "re2" {
			// Other frameworks anchor without grouping, where an alternative would escape the anchors.
			pattern = "(?:" + pattern + ")"
		}
		rules = append(rules, envRule{Pattern: pattern, Required: r.Required, Strategy: r.Strategy})
	}
	return rules
}

// userOf names ids, not names: the number is what the kernel looks at.
func userOf(c *pod.Container) user {
	u := user{
		UserIDName: idName{Pattern: strconv.FormatUint(uint64(c.UID), 10), Strategy: "id"},
		Umask:      "0022",
	}
	seen := map[uint32]bool{}
	for _, gid := range append([]uint32{c.GID}, c.AdditionalGIDs...) {
		if !seen[gid] {
			seen[gid] = true
			u.GroupIDNames = append(u.GroupIDNames, idName{Pattern: strconv.FormatUint(uint64(gid), 10), Strategy: "id"})
		}
	}
	return u
}

// signals are those every container may get, and the one its image asks to be stopped with.
func signals(stop string) ([]int, error) {
	out := slices.Clone(stopSignals)
	if stop == "" {
		return out, nil
	}
	n, err := strconv.Atoi(stop)
	if err != nil {
		name := strings.ToUpper(stop)
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		if offset, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
			if n, err = strconv.Atoi(offset); err == nil {
				n += 34 // the C library keeps the first two real-time signals
			}
		} else {
			n = int(unix.SignalNum(name))
		}
	}
	if n < 1 || n > 64 {
		return nil, fmt.Errorf("stop signal %.32q of the image is not a signal", stop)
	}
	if !slices.Contains(out, n) {
		out = append(out, n)
	}
	return out, nil
}

// checkText refuses text that JSON would change: the policy would then never match the request.
func checkText(c *pod.Container) error {
	for field, texts := range map[string][]string{"args": c.Args, "env": c.Env, "cwd": {c.Cwd}, "image": {c.ImageRef}} {
		for _, t := range texts {
			if !utf8.ValidString(t) || strings.ContainsRune(t, 0) {
				return fmt.Errorf("%s has text that is not UTF-8 or holds a zero byte", field)
			}
		}
	}
	return nil
}
