package rego

import (
	"bytes"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// field is one member of a Rego object.
type field struct {
	key   string
	value ast.Value
}

// object builds a Rego object straight from typed values. Going over encoding/json would cost four times as much, and
// would let a type's marshaller decide what the policy sees.
func object(fields ...field) ast.Object {
	items := make([][2]*ast.Term, len(fields))
	for i, f := range fields {
		items[i] = [2]*ast.Term{ast.InternedTerm(f.key), ast.NewTerm(f.value)}
	}
	return ast.NewObject(items...)
}

func str(key, value string) field { return field{key, ast.String(value)} }

func boolean(key string, value bool) field { return field{key, ast.Boolean(value)} }

func strs(key string, values []string) field { return field{key, stringArray(values)} }

// stringArray never answers null: for a policy, no entries and an absent list are the same thing.
func stringArray(values []string) ast.Value {
	// One allocation for all terms, not one each: an input has some hundred strings.
	space := make([]ast.Term, len(values))
	terms := make([]*ast.Term, len(values))
	for i, v := range values {
		space[i].Value = ast.String(v)
		terms[i] = &space[i]
	}
	return ast.NewArray(terms...)
}

func array[T any](values []T, each func(T) ast.Value) ast.Value {
	terms := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i] = ast.NewTerm(each(v))
	}
	return ast.NewArray(terms...)
}

func number(value int64) ast.Value { return ast.IntNumberTerm(int(value)).Value }

// Keys of what an input has many of.
var (
	keyDestination, keySource = ast.InternedTerm("destination"), ast.InternedTerm("source")
	keyOptions, keyType       = ast.InternedTerm("options"), ast.InternedTerm("type")
)

func mountValue(m point.Mount) ast.Value {
	return ast.NewObject(
		[2]*ast.Term{keyDestination, ast.StringTerm(m.Destination)}, [2]*ast.Term{keySource, ast.StringTerm(m.Source)},
		[2]*ast.Term{keyOptions, ast.NewTerm(stringArray(m.Options))}, [2]*ast.Term{keyType, ast.StringTerm(m.Type)})
}

func userValue(u point.User) ast.Value { return object(str("id", u.ID), str("name", u.Name)) }

func capabilitiesValue(c point.Capabilities) ast.Value {
	return object(strs("bounding", c.Bounding), strs("effective", c.Effective), strs("inheritable", c.Inheritable),
		strs("permitted", c.Permitted), strs("ambient", c.Ambient))
}

func deviceValue(d point.Device) ast.Value {
	return object(str("path", d.Path), str("type", d.Type), field{"major", number(d.Major)},
		field{"minor", number(d.Minor)}, field{"fileMode", number(int64(d.FileMode))},
		field{"uid", number(int64(d.UID))}, field{"gid", number(int64(d.GID))})
}

// InputValue is the document a rule sees as input.
func InputValue(in point.Input) ast.Value {
	switch in := in.(type) {
	case point.MountDeviceInput:
		return valueMountDevice(in)
	case point.RWMountDeviceInput:
		return valueRWMountDevice(in)
	case point.MountBlockDevInput:
		return valueMountBlockDev(in)
	case point.UnmountDeviceInput:
		return valueUnmountDevice(in)
	case point.RWUnmountDeviceInput:
		return valueRWUnmountDevice(in)
	case point.UnmountBlockDevInput:
		return valueUnmountBlockDev(in)
	case point.UnmountOverlayInput:
		return valueUnmountOverlay(in)
	case point.ScratchUnmountInput:
		return valueScratchUnmount(in)
	case point.Plan9UnmountInput:
		return valuePlan9Unmount(in)
	case point.MountOverlayInput:
		return valueMountOverlay(in)
	case point.ScratchMountInput:
		return valueScratchMount(in)
	case point.Plan9MountInput:
		return valuePlan9Mount(in)
	case point.CreateContainerInput:
		return valueCreateContainer(in)
	case point.ExecInContainerInput:
		return valueExecInContainer(in)
	case point.ExecExternalInput:
		return valueExecExternal(in)
	case point.ShutdownContainerInput:
		return valueShutdownContainer(in)
	case point.SignalContainerProcessInput:
		return valueSignalContainerProcess(in)
	case point.GetPropertiesInput:
		return valueGetProperties(in)
	case point.DumpStacksInput:
		return valueDumpStacks(in)
	case point.RuntimeLoggingInput:
		return valueRuntimeLogging(in)
	case point.HostNetworkInput:
		return valueHostNetwork(in)
	case point.LoadFragmentInput:
		return valueLoadFragment(in)
	case point.LoadTransparencyTrustListInput:
		return valueLoadTransparencyTrustList(in)
	case point.MountCIMsInput:
		return valueMountCIMs(in)
	case point.RegistryChangesInput:
		return valueRegistryChanges(in)
	case point.LogProviderInput:
		return valueLogProvider(in)
	}
	return ast.Null{}
}

// Document is the same as encoding/json's generic types.
func Document(in point.Input) any { return document(InputValue(in)) }

func valueMountDevice(i point.MountDeviceInput) ast.Value {
	return object(str("target", i.Target), str("deviceHash", i.DeviceHash), str("mountPathRegex", i.MountPathRegex))
}

func valueRWMountDevice(i point.RWMountDeviceInput) ast.Value {
	return object(str("target", i.Target), boolean("encrypted", i.Encrypted),
		boolean("ensureFilesystem", i.EnsureFilesystem), str("filesystem", i.Filesystem),
		str("mountPathRegex", i.MountPathRegex))
}

func valueMountBlockDev(i point.MountBlockDevInput) ast.Value { return object(str("target", i.Target)) }

func valueUnmountDevice(i point.UnmountDeviceInput) ast.Value {
	return object(str("unmountTarget", i.UnmountTarget))
}

func valueRWUnmountDevice(i point.RWUnmountDeviceInput) ast.Value {
	return object(str("unmountTarget", i.UnmountTarget))
}

func valueUnmountBlockDev(i point.UnmountBlockDevInput) ast.Value {
	return object(str("unmountTarget", i.UnmountTarget))
}

func valueUnmountOverlay(i point.UnmountOverlayInput) ast.Value {
	return object(str("unmountTarget", i.UnmountTarget))
}

func valueScratchUnmount(i point.ScratchUnmountInput) ast.Value {
	return object(str("unmountTarget", i.UnmountTarget))
}

func valuePlan9Unmount(i point.Plan9UnmountInput) ast.Value {
	return object(str("unmountTarget", i.UnmountTarget))
}

func valueMountOverlay(i point.MountOverlayInput) ast.Value {
	return object(str("containerID", i.ContainerID), strs("layerPaths", i.LayerPaths), str("target", i.Target))
}

func valueScratchMount(i point.ScratchMountInput) ast.Value {
	return object(str("target", i.Target), boolean("encrypted", i.Encrypted))
}

func valuePlan9Mount(i point.Plan9MountInput) ast.Value {
	return object(str("rootPrefix", i.RootPrefix), str("mountPathPrefix", i.MountPathPrefix), str("target", i.Target))
}

func valueCreateContainer(i point.CreateContainerInput) ast.Value {
	return object(str("containerID", i.ContainerID), strs("argList", i.ArgList), strs("envList", i.EnvList),
		str("workingDir", i.WorkingDir), str("sandboxDir", i.SandboxDir), str("hugePagesDir", i.HugePagesDir),
		field{"mounts", array(i.Mounts, mountValue)}, field{"devices", array(i.Devices, deviceValue)},
		boolean("privileged", i.Privileged), boolean("noNewPrivileges", i.NoNewPrivileges),
		field{"user", userValue(i.User)}, field{"groups", array(i.Groups, userValue)}, str("umask", i.Umask),
		field{"capabilities", capabilitiesValue(i.Capabilities)}, str("seccompProfileSHA256", i.SeccompProfileSHA256),
		boolean("isSandboxContainer", i.IsSandboxContainer))
}

func valueExecInContainer(i point.ExecInContainerInput) ast.Value {
	return object(str("containerID", i.ContainerID), strs("argList", i.ArgList), strs("envList", i.EnvList),
		str("workingDir", i.WorkingDir), boolean("noNewPrivileges", i.NoNewPrivileges),
		field{"user", userValue(i.User)}, field{"groups", array(i.Groups, userValue)}, str("umask", i.Umask),
		field{"capabilities", capabilitiesValue(i.Capabilities)})
}

func valueExecExternal(i point.ExecExternalInput) ast.Value {
	return object(strs("argList", i.ArgList), strs("envList", i.EnvList), str("workingDir", i.WorkingDir))
}

func valueShutdownContainer(i point.ShutdownContainerInput) ast.Value {
	return object(str("containerID", i.ContainerID))
}

func valueSignalContainerProcess(i point.SignalContainerProcessInput) ast.Value {
	return object(str("containerID", i.ContainerID), field{"signal", number(int64(i.Signal))},
		boolean("isInitProcess", i.IsInitProcess), strs("argList", i.ArgList))
}

func valueGetProperties(i point.GetPropertiesInput) ast.Value   { return object() }
func valueDumpStacks(i point.DumpStacksInput) ast.Value         { return object() }
func valueRuntimeLogging(i point.RuntimeLoggingInput) ast.Value { return object() }
func valueHostNetwork(i point.HostNetworkInput) ast.Value       { return object() }

func valueLoadFragment(i point.LoadFragmentInput) ast.Value {
	var svn ast.Value = ast.Null{}
	if i.HeaderSVN != nil {
		svn = number(*i.HeaderSVN)
	}
	receipt := func(r point.Receipt) ast.Value {
		return object(str("issuer", r.Issuer), strs("ttl_subjects", r.TTLSubjects))
	}
	return object(str("issuer", i.Issuer), str("feed", i.Feed), str("namespace", i.Namespace),
		boolean("fragment_loaded", i.FragmentLoaded), boolean("has_header_svn", i.HasHeaderSVN),
		field{"header_svn", svn}, field{"receipts", array(i.Receipts, receipt)})
}

func valueLoadTransparencyTrustList(i point.LoadTransparencyTrustListInput) ast.Value {
	return object(str("issuer", i.Issuer), str("subject", i.Subject), field{"svn", number(i.SVN)}, strs("ledgers", i.Ledgers))
}

func valueMountCIMs(i point.MountCIMsInput) ast.Value {
	return object(str("containerID", i.ContainerID), strs("layerHashes", i.LayerHashes), strs("mountedCim", i.MountedCIM))
}

func valueRegistryChanges(i point.RegistryChangesInput) ast.Value {
	changes, err := ast.ValueFromReader(bytes.NewReader(i.RegistryChanges))
	if err != nil {
		changes = ast.Null{}
	}
	return object(str("containerID", i.ContainerID), field{"registryChanges", changes})
}

func valueLogProvider(i point.LogProviderInput) ast.Value {
	return object(strs("providers", i.Providers))
}

// defaults is the answer for a policy that is older than a point, as a policy can look it up.
func defaults(r *point.Row) ast.Object {
	fields := []field{boolean("allowed", r.Default == point.FallbackAllow)}
	if r.Outputs.Env {
		fields = append(fields, field{"env_list", ast.Null{}})
	}
	if r.Outputs.Stdio {
		fields = append(fields, boolean("allow_stdio_access", false))
	}
	switch r.Point {
	case point.LoadFragment:
		fields = append(fields, boolean("add_module", false))
	case point.LogProvider:
		fields = append(fields, field{"providers_to_keep", ast.Null{}})
	}
	return object(fields...)
}

// apiObject is data.api: what a policy can look up about the points.
func apiObject() ast.Object {
	rows := point.Rows()
	points := make([]field, len(rows))
	for i := range rows {
		row := &rows[i]
		points[i] = field{string(row.Point), object(
			str("introducedVersion", row.Since),
			field{"default_results", defaults(row)},
			boolean("use_framework", row.Default == point.FallbackFramework),
		)}
	}
	return object(str("version", aci.APIVersion), field{"enforcement_points", object(points...)})
}

// document is v as encoding/json's generic types; nil when it is no document.
func document(v ast.Value) any {
	if v == nil {
		return nil
	}
	doc, err := ast.JSON(v)
	if err != nil {
		return nil
	}
	return doc
}
