package spec

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/network"
)

// Bounds of a resolv.conf. The agent has its own, of entries.
const (
	maxResolv = 64 << 10 // bytes
	maxLines  = 32       // that are sent
	maxRead   = 256      // that are looked at
)

const resolvPath = "/etc/resolv.conf"

// Sandbox makes the request that creates the pod: its host name, and what the guest can use of the resolv.conf that the specification mounts. s is the sandbox
// container's specification, or the only container's with `ctr run`; a share in the host's namespaces is refused here already.
func Sandbox(sandboxID string, s *specs.Spec) (*api.CreateSandboxRequest, []Note, error) {
	if err := check(s); err != nil {
		return nil, nil, err
	}
	request := &api.CreateSandboxRequest{SandboxId: sandboxID, Hostname: s.Hostname}
	if s.Hostname != "" {
		if err := network.CheckHostname(s.Hostname); err != nil {
			return nil, nil, refuse("Hostname", "%v", err)
		}
	}
	for _, m := range s.Mounts {
		if m.Destination != resolvPath || m.Source == "" {
			continue
		}
		text, err := readBounded(m.Source, maxResolv)
		if err != nil {
			return nil, nil, fmt.Errorf("read name servers: %w", err)
		}
		dns, notes := DNS(text)
		request.Dns = dns
		return request, notes, nil
	}
	return request, nil, nil
}

// DNS keeps of a resolv.conf what the agent takes, one entry a line. A name server that is the node's own loopback, an option nobody knows and a line of another form
// are left out, each with a note: a pod that resolves some names is better than none.
func DNS(text []byte) ([]string, []Note) {
	var kept []string
	var notes []Note
	read := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if read++; read > maxRead {
			return kept, append(notes, Note{"resolv.conf", "left out", fmt.Sprintf("all after %d lines", maxRead)})
		}
		if strings.HasPrefix(line, "options ") || strings.HasPrefix(line, "options\t") {
			line, notes = keepOptions(line, notes)
			if line == "options" {
				continue
			}
		}
		if _, err := network.ResolvConf(append(kept[:len(kept):len(kept)], line)); err != nil || len(kept) == maxLines {
			notes = append(notes, Note{"resolv.conf", "left out", clip(fmt.Sprintf("the line %q: %v", clip(line), err))})
			continue
		}
		kept = append(kept, line)
	}
	return kept, notes
}

// keepOptions drops options that the agent does not know, one by one.
func keepOptions(line string, notes []Note) (string, []Note) {
	kept := []string{"options"}
	for i, o := range strings.Fields(line)[1:] {
		if i == maxLines {
			break
		}
		if _, err := network.ResolvConf([]string{"options " + o}); err != nil {
			notes = append(notes, Note{"resolv.conf", "left out", clip(err.Error())})
			continue
		}
		kept = append(kept, o)
	}
	return strings.Join(kept, " "), notes
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s: got more than %d bytes", path, limit)
	}
	return text, err
}

// sysctls are what a pod may set in the guest: they widen what it may do with its own sockets.
var sysctls = map[string]*regexp.Regexp{
	"net.ipv4.ip_unprivileged_port_start": regexp.MustCompile(`^[0-9]{1,5}$`),
	"net.ipv4.ping_group_range":           regexp.MustCompile(`^[0-9]{1,10}[ \t][0-9]{1,10}$`),
}

func checkSysctl(in map[string]string) error {
	for name, value := range in {
		form, ok := sysctls[name]
		field := "Linux.Sysctl[" + clip(name) + "]"
		if !ok {
			return refuse(field, "a pod may set net.ipv4.ip_unprivileged_port_start and net.ipv4.ping_group_range only")
		}
		if !form.MatchString(value) {
			return refuse(field, "got %q, want numbers", clip(value))
		}
	}
	return nil
}

// PodSysctl are the sysctls of a sandbox container's specification, which the containers of the pod get: Kubernetes and containerd set them there.
func PodSysctl(s *specs.Spec) (map[string]string, error) {
	if s.Linux == nil {
		return nil, nil
	}
	return s.Linux.Sysctl, checkSysctl(s.Linux.Sysctl)
}
