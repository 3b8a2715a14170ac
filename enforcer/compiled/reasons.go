package compiled

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// reasons collects the contract's words for a refusal (policy contract, section 2.5).
type reasons []string

func (r *reasons) addIf(condition bool, text string) {
	if condition {
		*r = append(*r, text)
	}
}

// refuse is a refusal with its reasons, as far as the policy gives any.
func (q *question) refuse() *point.Refusal {
	r := &point.Refusal{}
	possible := none
	if id, ok := point.ContainerOf(q.in); ok {
		possible = q.possible(id)
		r.Container = nameOf(possible.members)
	}
	if q.judge.reason == entry.ReasonNone {
		r.Text = point.TextNoReason
		return r
	}
	r.Reasons = q.why()
	slices.Sort(r.Reasons)
	r.Reasons = slices.Compact(r.Reasons)
	full := q.judge.reason == entry.ReasonFull
	r.Document = func() any { return q.document(r.Reasons, full, possible.members) }
	return r
}

// nameOf is the name of the containers when all have the same.
func nameOf(list []*container) string {
	name := ""
	for i, c := range list {
		n := c.Name
		if n == "" {
			n = c.ID
		}
		if i > 0 && n != name {
			return ""
		}
		name = n
	}
	return name
}

func (q *question) document(words []string, full bool, members []*container) any {
	errs := make([]any, len(words))
	for i, w := range words {
		errs[i] = w
	}
	doc := map[string]any{"errors": errs}
	if !full {
		return doc
	}
	objects := []any{}
	switch q.row.Point {
	case point.CreateContainer, point.ExecInContainer, point.SignalContainerProcess:
		for _, c := range members {
			objects = append(objects, document(c))
		}
	}
	doc["error_objects"] = objects
	return doc
}

// why looks for every reason there is: a user mends them all at once.
func (q *question) why() []string {
	var r reasons
	switch in := q.in.(type) {
	case point.MountDeviceInput:
		r.addIf(!q.hashKnown(in.DeviceHash), "deviceHash not found")
		q.whyTarget(&r, in.Target, in.MountPathRegex)
	case point.RWMountDeviceInput:
		q.whyTarget(&r, in.Target, in.MountPathRegex)
		r.addIf(!q.encryptionOK(in.Encrypted), "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption")
		r.addIf(!in.EnsureFilesystem, "ensureFilesystem must be set on rw device mounts")
		r.addIf(!filesystemOK(in.Filesystem), "rw device mounts uses a filesystem that is not allowed")
	case point.UnmountDeviceInput:
		q.whyUnmount(&r, in.UnmountTarget, tableRWDevices, "received read-only unmount request, but device provided is read-write")
	case point.RWUnmountDeviceInput:
		q.whyUnmount(&r, in.UnmountTarget, tableDevices, "received read-write unmount request, but device provided is read-only")
	case point.MountBlockDevInput, point.UnmountBlockDevInput:
		r.addIf(true, "blockdev mounts are not supported")
	case point.MountCIMsInput, point.RegistryChangesInput, point.LogProviderInput:
		r.addIf(true, "not supported by a Linux utility VM")
	case point.ScratchMountInput:
		r.addIf(q.get(tableScratch, in.Target).present, "scratch already mounted at path")
		r.addIf(!q.encryptionOK(in.Encrypted), "unencrypted scratch not allowed")
	case point.ScratchUnmountInput:
		r.addIf(!q.get(tableScratch, in.UnmountTarget).present, "no scratch at path to unmount")
	case point.MountOverlayInput:
		taken := q.get(tableMatches, in.ContainerID).present || q.get(tableOverlays, in.Target).present
		r.addIf(taken, "overlay has already been mounted")
		r.addIf(q.overlayBucket(in) == nil, "no matching containers for overlay")
	case point.UnmountOverlayInput:
		r.addIf(!q.get(tableOverlays, in.UnmountTarget).present, "no overlay at path to unmount")
	case point.Plan9MountInput:
		r.addIf(q.get(tablePlan9, in.Target).present, "device already mounted at path")
		r.addIf(len(q.plan9Owners(in)) != 1, "mountpoint invalid")
	case point.Plan9UnmountInput:
		r.addIf(!q.get(tablePlan9, in.UnmountTarget).present, "no device at path to unmount")
	case point.ShutdownContainerInput:
		q.whyStarted(&r, in.ContainerID)
	case point.SignalContainerProcessInput:
		q.whyStarted(&r, in.ContainerID)
		r.addIf(!q.summaryOf(q.possible(in.ContainerID)).hasSignal(&in), "target isn't allowed to receive the signal")
	case point.CreateContainerInput:
		q.whyCreate(&r, &in)
	case point.ExecInContainerInput:
		q.whyExec(&r, &in)
	case point.ExecExternalInput:
		q.whyExternal(&r, &in)
	}
	return r
}

func (q *question) whyTarget(r *reasons, target, pattern string) {
	r.addIf(q.deviceMounted(target), "device already mounted at path")
	r.addIf(!q.mountPathOK(pattern, target), "mountpoint invalid")
}

func (q *question) whyUnmount(r *reasons, target string, other tableID, text string) {
	r.addIf(!q.deviceMounted(target), "no device at path to unmount")
	r.addIf(q.get(other, target).present, text)
}

func (q *question) whyStarted(r *reasons, id string) {
	started, _ := q.containerStarted(id)
	r.addIf(!started, "container not started")
}

func (q *question) whyCreate(r *reasons, in *point.CreateContainerInput) {
	possible := q.possible(in.ContainerID)
	s := q.summaryOf(possible)
	started, _ := q.containerStarted(in.ContainerID)
	r.addIf(started, "container already started")
	r.addIf(!s.hasPrivileged(in.Privileged), "privileged escalation not allowed")
	r.addIf(!s.hasCommand(in.ArgList), "invalid command")
	_, dirKnown := s.workingDirs[in.WorkingDir]
	r.addIf(!dirKnown, "invalid working directory")
	r.addIf(!s.hasNoNewPrivileges(in.NoNewPrivileges), "invalid noNewPrivileges")
	r.addIf(!s.hasUser(q, in.User, in.Groups, in.Umask), "invalid user")
	_, seccompKnown := s.seccomps[in.SeccompProfileSHA256]
	r.addIf(!seccompKnown, "invalid seccomp")
	r.addIf(len(in.Devices) > 0, "devices not supported")
	q.whyUnknownEnv(r, &s.env, in.EnvList)
	q.whyMounts(r, s, in)

	n := q.narrow(q.createInitial(in, possible), in.EnvList, &in.Capabilities, in.Privileged)
	q.whyNarrowed(r, &n)
	_, _, differ := stdio(n.final)
	r.addIf(differ, "containers only distinguishable by allow_stdio_access")
	// The environment is judged against the candidates that all else but seccomp leaves. It is said of the request as it came, also
	// where dropping would have helped: the contract's tools expect it.
	judged := filter(possible.withCommand(in.ArgList), func(c *container) bool {
		return c.has(entry.FieldEnvRules) && c.commandOK(in.ArgList) && q.createFieldsOK(in, c)
	})
	fitsNone, missing := q.whyEnv(q.rulesOf(judged), in.EnvList)
	late := !started && len(n.final) > 0
	r.addIf(fitsNone && !late, "invalid env list")
	r.addIf(missing, "missing required environment variable")
}

// whyEnv says whether an environment fits none of some candidates, and whether then a required variable is missing for one.
func (q *question) whyEnv(rules []*envRules, envs []string) (fitsNone, missing bool) {
	for _, r := range rules {
		if q.envsOK(r, envs) {
			return false, false
		}
	}
	fitsNone = len(rules) > 0
	missing = slices.ContainsFunc(rules, func(r *envRules) bool { return !q.requiredOK(r, envs) })
	return fitsNone, missing
}

// whyUnknownEnv tells names only: a value may be a secret.
func (q *question) whyUnknownEnv(r *reasons, known *envSummary, envs []string) {
	var names []string
	for _, env := range envs {
		if !known.known(q, env) {
			name, _, _ := strings.Cut(env, "=")
			names = append(names, name)
		}
	}
	r.addIf(len(names) > 0, "invalid env list: "+strings.Join(names, ","))
}

func (q *question) whyMounts(r *reasons, s *summary, in *point.CreateContainerInput) {
	var unknown []string
	for i := range in.Mounts {
		if !s.hasMount(q, in, &in.Mounts[i]) {
			unknown = append(unknown, in.Mounts[i].Destination)
		}
	}
	r.addIf(len(unknown) > 0, "invalid mount list: "+strings.Join(unknown, ","))
}

// whyNarrowed tells where capabilities ended the candidates.
func (q *question) whyNarrowed(r *reasons, n *narrowing) {
	if len(n.env) == 0 {
		return
	}
	r.addIf(n.capsOK && len(n.final) == 0, "capabilities don't match")
	r.addIf(!n.capsOK, "containers only distinguishable by capabilties")
}

func (q *question) whyExec(r *reasons, in *point.ExecInContainerInput) {
	possible := q.possible(in.ContainerID)
	s := q.summaryOf(possible)
	q.whyStarted(r, in.ContainerID)
	r.addIf(!s.hasExec(in.ArgList), "invalid command")
	_, dirKnown := s.workingDirs[in.WorkingDir]
	r.addIf(!dirKnown, "invalid working directory")
	r.addIf(!s.hasNoNewPrivileges(in.NoNewPrivileges), "invalid noNewPrivileges")
	r.addIf(!s.hasUser(q, in.User, in.Groups, in.Umask), "invalid user")
	q.whyUnknownEnv(r, &s.env, in.EnvList)

	_, privileged := q.containerStarted(in.ContainerID)
	initial := q.execInitial(in, possible)
	n := q.narrow(initial, in.EnvList, &in.Capabilities, privileged)
	q.whyNarrowed(r, &n)
	judged := filter(initial, func(c *container) bool { return c.has(entry.FieldEnvRules) })
	_, missing := q.whyEnv(q.rulesOf(judged), in.EnvList)
	r.addIf(missing, "missing required environment variable")
}

func (q *question) whyExternal(r *reasons, in *point.ExecExternalInput) {
	var command, dir bool
	var all []*envRules
	for _, p := range q.judge.externals {
		command = command || slices.Equal(p.Command, in.ArgList)
		dir = dir || p.WorkingDir == in.WorkingDir
		all = append(all, q.envOfExternal(p))
	}
	r.addIf(!command, "invalid command")
	r.addIf(!dir, "invalid working directory")
	var names []string
	for _, env := range in.EnvList {
		if !slices.ContainsFunc(all, func(rules *envRules) bool { return q.known(rules, env) }) {
			name, _, _ := strings.Cut(env, "=")
			names = append(names, name)
		}
	}
	r.addIf(len(names) > 0, "invalid env list: "+strings.Join(names, ","))
	initial := q.externalInitial(in)
	rules := make([]*envRules, len(initial))
	for i, p := range initial {
		rules[i] = q.envOfExternal(p)
	}
	_, missing := q.whyEnv(rules, in.EnvList)
	r.addIf(missing, "missing required environment variable")
	_, final := q.externalNarrow(initial, in.EnvList)
	_, same := externalStdio(final)
	r.addIf(len(final) > 0 && !same, "external processes only distinguishable by allow_stdio_access")
}
