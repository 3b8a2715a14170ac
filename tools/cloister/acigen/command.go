package acigen

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

const (
	sigKill = int(unix.SIGKILL)
	sigTerm = int(unix.SIGTERM)
)

// command is the document's, else the image's. A document that replaces the entry point only drops the image's arguments with
// it, one that replaces the arguments only keeps the image's entry point (as Kubernetes has it).
func (t *translation) command(e *Container) error {
	c, config := t.c, t.image.Config
	var argv []workload.Text
	var first []string // of the image, in front of argv
	switch {
	case c.Command != nil:
		argv = c.Command
	case c.Entrypoint != nil:
		argv = slices.Concat(c.Entrypoint, c.Args)
	case c.Args != nil:
		first, argv = config.Entrypoint, c.Args
	default:
		first = slices.Concat(config.Entrypoint, config.Cmd)
	}
	e.Command = slices.Clone(first)
	shown := slices.Clone(first)
	for _, a := range argv {
		if a.Wildcard {
			return fmt.Errorf("argument %q (%s) is not known before deployment; policies name commands exactly", shownText(a), originText(a.Origin))
		}
		if a.Secret {
			t.written(index("command", len(e.Command)))
		}
		e.Command = append(e.Command, a.Value)
		shown = append(shown, shownText(a))
	}
	source, at := FromImage, imageAt(t.image, "Entrypoint, Cmd")
	if len(argv) > 0 {
		source, at = FromTemplate, originText(argv[0].Origin)
	}
	if len(e.Command) == 0 {
		e.Command = nil
		t.note("neither the document nor the image names a command, and no agent allows a container without one")
		t.explain("command", "null", source, at)
		return nil
	}
	t.explain("command", show(shown), source, at)
	return nil
}

// exec are the commands that may be started inside: the document's, and a shell in debug mode.
func (t *translation) exec(e *Container) error {
	e.ExecProcesses = []defaults.Process{}
	for _, x := range t.c.Exec {
		if len(x.Command) == 0 {
			return fmt.Errorf("%s: the command is empty", originText(x.Origin))
		}
		p := fromTemplate(defaults.Process{Command: x.Command, Signals: empty(slices.Clone(x.Signals))}, x.Origin)
		p.secret = x.Secret
		t.process(e, p)
	}
	if t.o.Debug {
		for i, p := range t.defaults.Debug {
			t.process(e, sourced[defaults.Process]{
				value: defaults.Process{Command: p.Command, Signals: empty(p.Signals)}, source: FromOption,
				place: "debug mode, " + t.defaultsAt(index("debug_exec_processes", i)),
			})
		}
	}
	return nil
}

func (t *translation) process(e *Container, p sourced[defaults.Process]) {
	same := func(other defaults.Process) bool {
		return slices.Equal(other.Command, p.value.Command) && slices.Equal(other.Signals, p.value.Signals)
	}
	if slices.ContainsFunc(e.ExecProcesses, same) {
		return
	}
	field, shown := index("exec_processes", len(e.ExecProcesses)), show(p.value.Command)
	if p.secret {
		shown = Secret
		t.written(field)
	}
	t.explain(field, shown, p.source, p.place)
	e.ExecProcesses = append(e.ExecProcesses, p.value)
}

// signals are those that the first process may get.
func (t *translation) signals(e *Container) error {
	if len(t.c.Signals) > 0 {
		e.Signals = slices.Clone(t.c.Signals)
		t.explain("signals", show(e.Signals), FromTemplate, originText(t.c.Origin))
		return nil
	}
	e.Signals = []int{}
	rule := t.out.Level.Signals
	if rule != defaults.StopSignal {
		e.Signals = append(e.Signals, sigKill, sigTerm)
		t.explain("signals", show(e.Signals), FromDefault, "level "+t.out.Level.Name)
	}
	stop := t.image.Config.StopSignal
	if stop == "" || rule == defaults.KillTerm {
		return nil
	}
	n, err := signal(stop)
	if err != nil {
		return fmt.Errorf("image %.200q: %w", t.image.Reference, err)
	}
	if !slices.Contains(e.Signals, n) {
		e.Signals = append(e.Signals, n)
		t.explain("signals", strconv.Itoa(n), FromImage, imageAt(t.image, "StopSignal"))
	}
	return nil
}

// signal reads a stop signal as images have it: a number, or a name with or without SIG.
func signal(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		name := strings.ToUpper(text)
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		if offset, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
			if n, err = strconv.Atoi(offset); err == nil && n >= 0 {
				n += 34 // the C library keeps the first two real-time signals
			}
		} else {
			n = int(unix.SignalNum(name))
		}
	}
	if n < 1 || n > 64 {
		return 0, fmt.Errorf("stop signal %.32q is not a signal", text)
	}
	return n, nil
}

func (t *translation) workingDir(e *Container) error {
	shown := ""
	switch w := t.c.WorkingDir; {
	case w != nil && w.Wildcard:
		return fmt.Errorf("%q (%s) is not known before deployment; policies name it exactly", shownText(*w), originText(w.Origin))
	case w != nil && w.Value != "":
		e.WorkingDir, shown = w.Value, shownText(*w)
		if w.Secret {
			t.written("working_dir")
		}
		t.explain("working_dir", shown, FromTemplate, originText(w.Origin))
	case t.image.Config.WorkingDir != "":
		e.WorkingDir, shown = t.image.Config.WorkingDir, t.image.Config.WorkingDir
		t.explain("working_dir", e.WorkingDir, FromImage, imageAt(t.image, "WorkingDir"))
	default:
		e.WorkingDir = "/"
		t.explain("working_dir", "/", FromDefault, "no working directory is named")
	}
	if !path.IsAbs(e.WorkingDir) {
		return fmt.Errorf("%.200q is not an absolute path", shown)
	}
	return nil
}

// mounts are the document's, then those the platform adds to every container unless the document has one at that place.
func (t *translation) mounts(e *Container) error {
	e.Mounts = []defaults.Mount{}
	taken := map[string]bool{}
	write := func(m defaults.Mount, source, at string) {
		taken[m.Destination] = true
		m.Options = empty(slices.Clone(m.Options))
		t.explain(index("mounts", len(e.Mounts)), m.Destination+" <- "+m.Source+" "+show(m.Options), source, at)
		e.Mounts = append(e.Mounts, m)
	}
	for _, m := range t.c.Mounts {
		if m.Destination == "" || m.Source == "" {
			return fmt.Errorf("%s: destination is %q and source %q, want both", originText(m.Origin), m.Destination, m.Source)
		}
		write(defaults.Mount{Destination: m.Destination, Options: m.Options, Source: m.Source, Type: m.Type}, FromTemplate, originText(m.Origin))
	}
	if t.sidecar(t.c) {
		return nil
	}
	for _, a := range t.additions {
		lists := []place[[]defaults.Mount]{{a.at + ".mounts", a.value.Mounts}}
		if t.privileged() {
			lists = append(lists, place[[]defaults.Mount]{a.at + ".privileged_mounts", a.value.PrivilegedMounts})
		}
		for _, list := range lists {
			for i, m := range list.value {
				if !taken[m.Destination] {
					write(m, FromDefault, t.defaultsAt(index(list.at, i)))
				}
			}
		}
	}
	return nil
}

func (t *translation) privileged() bool {
	return t.c.Security.Privileged != nil && *t.c.Security.Privileged
}
