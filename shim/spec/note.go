package spec

// Note says what became of a part of a container's specification that was not sent as containerd wrote it. It is logged, and becomes an event of the pod.
type Note struct {
	Field string // "Mounts[/dev/termination-log]", "Process.Env[FOO]"; a variable's name, never its value
	What  string // "left out", "replaced", "renamed"
	Why   string // one sentence without a full stop
}

// String is the line that is logged.
func (n Note) String() string { return n.Field + " " + n.What + ": " + n.Why }
