package policylint

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

func (l *linter) versions() {
	doc := l.doc
	ahead := func(text, newest string) bool {
		v, ok := point.ParseVersion(text)
		n, _ := point.ParseVersion(newest)
		return ok && n.Less(v)
	}
	switch {
	case doc.APIVersion == "":
		l.add(noAPIVersion, "", "the policy has no api_version, so every request is refused")
	case ahead(doc.APIVersion, aci.APIVersion):
		l.add(apiAhead, "api_version", "api_version is %s, the agent's is %s", doc.APIVersion, aci.APIVersion)
	}
	switch {
	case doc.FrameworkVersion == "":
		l.add(noFramework, "", "the policy has no framework_version")
	case !l.hasVersion:
		l.add(noFramework, "framework_version", "framework_version is %.32q, which is not MAJOR.MINOR.PATCH", doc.FrameworkVersion)
	case ahead(doc.FrameworkVersion, aci.FrameworkVersion):
		l.add(frameworkAhead, "framework_version", "framework_version is %s, the agent's is %s", doc.FrameworkVersion, aci.FrameworkVersion)
	}
	if doc.LegacyAPIVersion {
		l.add(legacyName, "api_svn", "api_svn is the old name of api_version")
	}
	if doc.LegacyFrameworkVersion {
		l.add(legacyName, "framework_svn", "framework_svn is the old name of framework_version")
	}
	if doc.Syntax == "v0" {
		l.add(oldSyntax, "", "the text is not Rego v1, and was read as v0")
	}
	if !doc.HasReason {
		l.add(noReason, "", "the policy has no rule reason, so nobody learns why something is refused")
	}
}

func (l *linter) form() {
	for _, p := range l.doc.Problems {
		switch p.Kind {
		case policydoc.WrongType:
			l.add(wrongType, p.Path, "%s", p.Text)
		case policydoc.UnknownField:
			l.add(unknownField, p.Path, "%s", p.Text)
		case policydoc.MissingField:
			l.add(missingField, p.Path, "%s", p.Text)
		case policydoc.DuplicateKey:
			l.add(duplicateKey, p.Path, "%s", p.Text)
		}
	}
	for _, name := range l.doc.Unread {
		l.add(unreadList, name, "%s depends on the request, or is not defined for any", name)
	}
}

// askedPoints are those a request of this agent comes to; the others belong to Windows containers, or to requests that are
// refused anyway.
var askedPoints = []enforcer.Point{
	enforcer.PointMountDevice, enforcer.PointMountOverlay, enforcer.PointCreateContainer, enforcer.PointUnmountDevice,
	enforcer.PointExecInContainer, enforcer.PointShutdownContainer, enforcer.PointSignalContainerProcess,
	enforcer.PointUnmountOverlay, enforcer.PointGetProperties, enforcer.PointDumpStacks, enforcer.PointRuntimeLogging,
	enforcer.PointLoadFragment, enforcer.PointScratchMount, enforcer.PointScratchUnmount,
}

// neededPoints are those without which no container starts.
var neededPoints = []enforcer.Point{
	enforcer.PointMountDevice, enforcer.PointMountOverlay, enforcer.PointCreateContainer, enforcer.PointScratchMount,
}

func (l *linter) points() {
	known := map[string]bool{}
	for _, r := range l.doc.Points {
		name := string(r.Point)
		known[name] = true
		switch {
		case l.doc.Misdelegated[name] != "":
			l.add(misdelegated, name, "%s is decided by data.framework.%s", name, l.doc.Misdelegated[name])
		case r.Rule == policydoc.Allowed:
			l.add(alwaysAllowed, name, "%s is allowed whatever is asked", name)
		case r.Rule == policydoc.Own:
			l.add(ownRule, name, "%s is decided by a rule of the policy's own", name)
		case r.Rule == policydoc.Absent:
			l.absent(r)
		}
	}
	for _, name := range l.doc.OwnRules {
		target, delegates := l.doc.Misdelegated[name]
		switch {
		case delegates:
			l.add(unknownPoint, name, "%s delegates to data.framework.%s, and is no enforcement point", name, target)
		case strings.HasPrefix(name, "allow_"):
			l.add(unknownFlag, name, "%s is no flag of the contract", name)
		default:
			l.add(ownRule, name, "%s is a rule of the policy's own", name)
		}
	}
}

func (l *linter) absent(r policydoc.PointRule) {
	name := string(r.Point)
	api := l.doc.APIVersion
	switch {
	case r.Older && r.Default == "allow":
		l.add(defaultAllows, name, "%s came with api_version %s and the policy's is %s: without a rule it is allowed", name, r.Since, api)
	case r.Older && r.Default == "framework":
		l.add(defaultElse, name, "%s came with api_version %s and the policy's is %s: without a rule the framework decides", name, r.Since, api)
	case r.Older:
		l.add(defaultElse, name, "%s came with api_version %s and the policy's is %s: without a rule it is refused", name, r.Since, api)
	case l.doc.APIVersion == "" || !slices.Contains(askedPoints, r.Point):
		// Of a policy without a version all is said; what nobody asks needs no rule.
	case slices.Contains(neededPoints, r.Point):
		l.add(pointNeeded, name, "there is no rule %s, so it is refused, and no container can start", name)
	default:
		l.add(pointMissing, name, "there is no rule %s, so it is refused", name)
	}
}

// flagFindings are the findings about flags that are set, and the framework version that came with the flag.
var flagFindings = []struct {
	name  string
	code  code
	since point.Version
	text  string
}{
	{"allow_runtime_logging", opensLogging, point.Version{}, "the host may read the agent's log"},
	{"allow_dump_stacks", opensStacks, point.Version{}, "the host may read the agent's stacks"},
	{"allow_unencrypted_scratch", opensScratch, point.Version{}, "writable layers and disks may be unencrypted"},
	{"allow_host_network", opensNetwork, point.Version{0, 5, 0}, "containers may use the guest's own network namespace"},
	{"allow_properties_access", opensProperties, point.Version{}, "the host may read process lists and statistics"},
	{"allow_environment_variable_dropping", dropsEnv, point.Version{}, "variables that no rule allows are dropped"},
	{"allow_capability_dropping", dropsCaps, point.Version{0, 2, 2}, "capabilities that the policy does not list are dropped"},
}

func (l *linter) flags() {
	for _, f := range flagFindings {
		if !l.doc.Flag(f.name) {
			continue
		}
		if l.hasVersion && l.version.Less(f.since) {
			l.add(flagTooNew, f.name, "%s is set, and framework_version %s does not know it", f.name, l.doc.FrameworkVersion)
			continue
		}
		l.add(f.code, f.name, "%s", f.text)
	}
}

// includes are what a fragment can bring.
var includes = []string{"containers", "fragments", "external_processes", "transparency_trust_lists", "platform_rules", "namespace"}

func (l *linter) others() {
	for i, e := range l.doc.ExternalProcesses {
		path := at("external_processes", i)
		l.add(externalProcess, path, "%s may run in the guest itself", printable(policydoc.Words(e.Command)))
		l.envRules(path, e.EnvRules)
		l.commandSecrets(path+".command", e.Command)
	}
	for i, f := range l.doc.Fragments {
		l.fragment(at("fragments", i), f)
	}
	for i, r := range l.doc.PlatformRules {
		path := at("platform_rules", i)
		l.envRules(path, r.EnvRules)
		l.mounts(path, r.Mounts)
	}
	for i, t := range l.doc.TrustLists {
		path := at("transparency_trust_lists", i)
		if !strings.HasPrefix(t.Issuer, didPrefix) {
			l.add(issuerForm, path+".issuer", "the issuer does not begin with %s", didPrefix)
		}
		if slices.Contains(t.AllowedLedgers, "*") {
			l.add(anyLedger, path+".allowed_ledgers", "the list may speak for any ledger")
		}
	}
}

const didPrefix = "did:x509:"

func (l *linter) fragment(path string, f *entry.Fragment) {
	if !strings.HasPrefix(f.Issuer, didPrefix) {
		l.add(issuerForm, path+".issuer", "the issuer does not begin with %s", didPrefix)
	}
	if v, ok := point.ParseVersion(f.MinimumSVN); f.MinimumSVN == "0" || ok && v == (point.Version{}) {
		l.add(svnZero, path+".minimum_svn", "minimum_svn is %s, so every version of the fragment is accepted", f.MinimumSVN)
	}
	if len(f.Includes) == 0 {
		l.add(fragmentIncludes, path+".includes", "the fragment may bring nothing")
	}
	for i, name := range f.Includes {
		if !slices.Contains(includes, name) {
			l.add(fragmentIncludes, at(path+".includes", i), "%.64q is nothing that a fragment can bring", name)
		}
	}
}
