package reference

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tests/reference/peer"
)

// exchange is one request with both answers.
type exchange struct {
	in     enforcer.Input
	ours   *enforcer.Decision // nil when refused
	denial *enforcer.Denial
	theirs peer.Answer
}

// A verdictDifference is a documented case in which one allows and the other does not.
type verdictDifference struct {
	why   string
	holds func(exchange) bool
}

// verdictDifferences are those that only the answers show. Where the reference refuses, the enforcer's decision is not
// committed, and both stay in the same state; where it allows, the case ends there.
var verdictDifferences = []verdictDifference{
	{
		"An environment of which dropping leaves nothing is one that all rules allow. The reference refuses it where there are rules, without a reason of its own.",
		func(x exchange) bool {
			_, asks := env(x.in)
			return asks && (x.ours != nil && len(x.ours.Env) == 0 || x.theirs.Allowed && len(x.theirs.Env) == 0)
		},
	},
	{
		"Policies older than framework 0.4.1 let init get SIGKILL and SIGTERM, which the agent used to send whatever the policy said. The reference is older than that rule.",
		func(x exchange) bool {
			in, ok := x.in.(enforcer.SignalContainerProcessInput)
			return ok && x.ours != nil && in.IsInitProcess && (in.Signal == 9 || in.Signal == 15)
		},
	},
}

// A requestDifference is a kind of request that the two are documented to judge differently. It is not asked, but in
// TestDocumentedDifferences.
type requestDifference struct {
	why   string
	holds func(enforcer.Input) bool
}

var (
	layerTarget = regexp.MustCompile(`^/run/mounts/scsi/m[0-9]+$`)
	shareTarget = regexp.MustCompile(`^/run/gcs/c/[0-9a-f]{64}/mounts/m[0-9]+$`)
)

var requestDifferences = []requestDifference{
	{
		"The reference has no patterns for mount targets; newer agents give them with the request.",
		func(in enforcer.Input) bool {
			switch in := in.(type) {
			case enforcer.MountDeviceInput:
				return !layerTarget.MatchString(in.Target)
			case enforcer.Plan9MountInput:
				return !shareTarget.MatchString(in.Target)
			}
			return false
		},
	},
	{
		"An empty environment is one that all rules allow. The reference accepts it only of containers without rules.",
		func(in enforcer.Input) bool {
			list, asks := env(in)
			return asks && len(list) == 0
		},
	},
	{"A capability that the request names twice is still in the same set. The reference counts it twice.", namesTwice},
}

func asked(in enforcer.Input) bool {
	return !slices.ContainsFunc(requestDifferences, func(d requestDifference) bool { return d.holds(in) })
}

func namesTwice(in enforcer.Input) bool {
	var caps enforcer.Capabilities
	switch in := in.(type) {
	case enforcer.CreateContainerInput:
		caps = in.Capabilities
	case enforcer.ExecInContainerInput:
		caps = in.Capabilities
	}
	return slices.ContainsFunc([][]string{caps.Bounding, caps.Effective, caps.Inheritable, caps.Permitted, caps.Ambient}, func(list []string) bool {
		return len(asSet(list)) != len(list)
	})
}

// A reasonDifference is a reason that one gives and the other does not, where both refuse.
type reasonDifference struct {
	why     string
	point   enforcer.Point
	reasons []string // without what follows ": "
	theirs  bool     // the reference gives it
}

var reasonDifferences = []reasonDifference{
	{
		why:   "The reference tells these of every refused exec: it looks for fields that exec entries do not have.",
		point: enforcer.PointExecInContainer, reasons: []string{"invalid noNewPrivileges", "invalid user"}, theirs: true,
	},
	{
		why:   "Newer frameworks also say in general that the environment fits no candidate, next to the names of unknown variables.",
		point: enforcer.PointCreateContainer, reasons: []string{"invalid env list"},
	},
	{
		why:   "Every reason that holds is told, also next to one that would be enough; the reference leaves these out when the container was started before.",
		point: enforcer.PointCreateContainer,
		reasons: []string{
			"capabilities don't match", "containers only distinguishable by capabilties", "containers only distinguishable by allow_stdio_access",
			"missing required environment variable",
		},
	},
	{
		why:   "As above, for a container that was not started, or one whose environment does not fit.",
		point: enforcer.PointExecInContainer,
		reasons: []string{
			"capabilities don't match", "containers only distinguishable by capabilties", "missing required environment variable",
		},
	},
	{
		why:   "A request whose environment is empty has this reason only here: the reference finds no process at all.",
		point: enforcer.PointExecExternal, reasons: []string{"external processes only distinguishable by allow_stdio_access"},
	},
	{
		why:   "The reference says nothing of a signal to a process that is not init.",
		point: enforcer.PointSignalContainerProcess, reasons: []string{"target isn't allowed to receive the signal"},
	},
	{
		why:   "Where SIGKILL and SIGTERM are always allowed, it is not the signal that is wrong.",
		point: enforcer.PointSignalContainerProcess, reasons: []string{"target isn't allowed to receive the signal"}, theirs: true,
	},
	{
		why:   "The reference judges the environment of candidates whose seccomp profile differs as well.",
		point: enforcer.PointCreateContainer, reasons: []string{"missing required environment variable"}, theirs: true,
	},
	{
		why:   "A target that is taken is refused for that; the reference sees only whether the container id is, and then fails to note the change.",
		point: enforcer.PointMountOverlay, reasons: []string{"overlay has already been mounted"},
	},
	{
		why:   "The reference says nothing of a share at a place that is no container's.",
		point: enforcer.PointPlan9Mount, reasons: []string{"mountpoint invalid"},
	},
}

// outcomes that are compared less than exactly:
//   - env_list and the capabilities are compared as sets: the reference's order is random and it drops duplicates;
//   - allow_stdio_access of exec_in_container is what create answered, which the reference remembers and the enforcer leaves to
//     the agent.

// halfApplied says that the reference refused because a state change failed after another of the same request was made. The
// enforcer makes all changes or none. What the reference answers from then on is not comparable.
func halfApplied(a peer.Answer) bool {
	return strings.Contains(a.Broken, "error applying metadata operations")
}

func env(in enforcer.Input) ([]string, bool) {
	switch in := in.(type) {
	case enforcer.CreateContainerInput:
		return in.EnvList, true
	case enforcer.ExecInContainerInput:
		return in.EnvList, true
	case enforcer.ExecExternalInput:
		return in.EnvList, true
	}
	return nil, false
}

// explained removes from reasons what the table says only one side gives.
func explained(point enforcer.Point, reasons, other []string, theirs bool) []string {
	return slices.DeleteFunc(slices.Clone(reasons), func(reason string) bool {
		if slices.Contains(other, reason) {
			return false
		}
		for _, d := range reasonDifferences {
			if d.point == point && d.theirs == theirs && slices.Contains(d.reasons, reason) {
				return true
			}
		}
		return false
	})
}
