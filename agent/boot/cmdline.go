package boot

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Parameters is what the kernel command line may say to the agent. The command line is measured at launch.
type Parameters struct {
	// ServerAddr is where the agent serves: "auto", or a vsock://, virtio-serial:// or unix:// address.
	ServerAddr string
	// StrictAPI refuses policies written for an older API instead of filling in defaults.
	StrictAPI bool
	// CrashConsole leaves the agent's standard error on the console, so that a panic can be read, by the host too.
	CrashConsole bool
}

// AutoServerAddr means: every virtio-serial port of ours if the machine has such a device, else vsock.
const AutoServerAddr = "auto"

// parameter is one row of the allow-list: its check is its setter.
type parameter struct {
	name string
	set  func(*Parameters, string) error
}

var parameters = []parameter{
	{"agent.server_addr", func(p *Parameters, v string) error { p.ServerAddr = v; return checkServerAddr(v) }},
	{"cloister.strict_api", func(p *Parameters, v string) error { return setBool(&p.StrictAPI, v) }},
	{"cloister.crash_console", func(p *Parameters, v string) error { return setBool(&p.CrashConsole, v) }},
}

// ErrParameter marks everything that can be wrong with the command line.
var ErrParameter = errors.New("bad kernel parameter")

// ParseCmdline reads the kernel command line. Of parameters in our name space an unknown one is an error; in the agent's, where Kata's shims
// set many, and everywhere else it is ignored. Ours may not come twice: which one counts would be a guess.
func ParseCmdline(line string) (Parameters, error) {
	p := Parameters{ServerAddr: AutoServerAddr}
	seen := map[string]bool{}
	for _, word := range strings.Fields(line) {
		if word == "--" {
			break // the rest belongs to init's arguments
		}
		name, value, _ := strings.Cut(word, "=")
		row := findParameter(name)
		if row == nil {
			if strings.HasPrefix(name, "cloister.") {
				return Parameters{}, fmt.Errorf("%w: %.64q is unknown", ErrParameter, name)
			}
			continue
		}
		if seen[name] {
			return Parameters{}, fmt.Errorf("%w: %q is repeated", ErrParameter, name)
		}
		seen[name] = true
		if err := row.set(&p, value); err != nil {
			return Parameters{}, fmt.Errorf("%w: %q: %w", ErrParameter, name, err)
		}
	}
	return p, nil
}

func findParameter(name string) *parameter {
	for i := range parameters {
		if parameters[i].name == name {
			return &parameters[i]
		}
	}
	return nil
}

func setBool(to *bool, value string) error {
	switch value {
	case "0":
		*to = false
	case "1":
		*to = true
	default:
		return fmt.Errorf("got %.64q, want 0 or 1", value)
	}
	return nil
}

func checkServerAddr(addr string) error {
	if addr == AutoServerAddr {
		return nil
	}
	scheme, rest, _ := strings.Cut(addr, "://")
	switch scheme {
	case "vsock":
		cid, port, found := strings.Cut(rest, ":")
		_, err := strconv.ParseInt(cid, 10, 64)
		n, perr := strconv.ParseUint(port, 10, 32)
		if found && err == nil && perr == nil && n > 0 {
			return nil
		}
	case "virtio-serial":
		if rest != "" && len(rest) <= 64 && rest == url.PathEscape(rest) {
			return nil
		}
	case "unix":
		if strings.HasPrefix(rest, "/") && len(rest) < 108 {
			return nil
		}
	}
	return fmt.Errorf("got %.64q, want %q, vsock://CID:PORT, virtio-serial://NAME or unix:///PATH", addr, AutoServerAddr)
}
