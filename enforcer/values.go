package enforcer

import (
	"bytes"

	"github.com/open-policy-agent/opa/v1/ast"
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
	terms := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i] = ast.StringTerm(v)
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

func mountValue(m Mount) ast.Value {
	return object(str("destination", m.Destination), str("source", m.Source), strs("options", m.Options), str("type", m.Type))
}

func userValue(u User) ast.Value { return object(str("id", u.ID), str("name", u.Name)) }

func (c Capabilities) value() ast.Value {
	return object(strs("bounding", c.Bounding), strs("effective", c.Effective), strs("inheritable", c.Inheritable),
		strs("permitted", c.Permitted), strs("ambient", c.Ambient))
}

func deviceValue(d Device) ast.Value {
	return object(str("path", d.Path), str("type", d.Type), field{"major", number(d.Major)},
		field{"minor", number(d.Minor)}, field{"fileMode", number(int64(d.FileMode))},
		field{"uid", number(int64(d.UID))}, field{"gid", number(int64(d.GID))})
}

func (i MountDeviceInput) value() ast.Value {
	return object(str("target", i.Target), str("deviceHash", i.DeviceHash), str("mountPathRegex", i.MountPathRegex))
}

func (i RWMountDeviceInput) value() ast.Value {
	return object(str("target", i.Target), boolean("encrypted", i.Encrypted),
		boolean("ensureFilesystem", i.EnsureFilesystem), str("filesystem", i.Filesystem),
		str("mountPathRegex", i.MountPathRegex))
}

func (i MountBlockDevInput) value() ast.Value { return object(str("target", i.Target)) }
func (i UnmountDeviceInput) value() ast.Value { return object(str("unmountTarget", i.UnmountTarget)) }

func (i RWUnmountDeviceInput) value() ast.Value { return object(str("unmountTarget", i.UnmountTarget)) }

func (i UnmountBlockDevInput) value() ast.Value { return object(str("unmountTarget", i.UnmountTarget)) }

func (i UnmountOverlayInput) value() ast.Value { return object(str("unmountTarget", i.UnmountTarget)) }

func (i ScratchUnmountInput) value() ast.Value { return object(str("unmountTarget", i.UnmountTarget)) }

func (i Plan9UnmountInput) value() ast.Value { return object(str("unmountTarget", i.UnmountTarget)) }

func (i MountOverlayInput) value() ast.Value {
	return object(str("containerID", i.ContainerID), strs("layerPaths", i.LayerPaths), str("target", i.Target))
}

func (i ScratchMountInput) value() ast.Value {
	return object(str("target", i.Target), boolean("encrypted", i.Encrypted))
}

func (i Plan9MountInput) value() ast.Value {
	return object(str("rootPrefix", i.RootPrefix), str("mountPathPrefix", i.MountPathPrefix), str("target", i.Target))
}

func (i CreateContainerInput) value() ast.Value {
	return object(str("containerID", i.ContainerID), strs("argList", i.ArgList), strs("envList", i.EnvList),
		str("workingDir", i.WorkingDir), str("sandboxDir", i.SandboxDir), str("hugePagesDir", i.HugePagesDir),
		field{"mounts", array(i.Mounts, mountValue)}, field{"devices", array(i.Devices, deviceValue)},
		boolean("privileged", i.Privileged), boolean("noNewPrivileges", i.NoNewPrivileges),
		field{"user", userValue(i.User)}, field{"groups", array(i.Groups, userValue)}, str("umask", i.Umask),
		field{"capabilities", i.Capabilities.value()}, str("seccompProfileSHA256", i.SeccompProfileSHA256),
		boolean("isSandboxContainer", i.IsSandboxContainer))
}

func (i ExecInContainerInput) value() ast.Value {
	return object(str("containerID", i.ContainerID), strs("argList", i.ArgList), strs("envList", i.EnvList),
		str("workingDir", i.WorkingDir), boolean("noNewPrivileges", i.NoNewPrivileges),
		field{"user", userValue(i.User)}, field{"groups", array(i.Groups, userValue)}, str("umask", i.Umask),
		field{"capabilities", i.Capabilities.value()})
}

func (i ExecExternalInput) value() ast.Value {
	return object(strs("argList", i.ArgList), strs("envList", i.EnvList), str("workingDir", i.WorkingDir))
}

func (i ShutdownContainerInput) value() ast.Value { return object(str("containerID", i.ContainerID)) }

func (i SignalContainerProcessInput) value() ast.Value {
	return object(str("containerID", i.ContainerID), field{"signal", number(int64(i.Signal))},
		boolean("isInitProcess", i.IsInitProcess), strs("argList", i.ArgList))
}

func (GetPropertiesInput) value() ast.Value  { return object() }
func (DumpStacksInput) value() ast.Value     { return object() }
func (RuntimeLoggingInput) value() ast.Value { return object() }
func (HostNetworkInput) value() ast.Value    { return object() }

func (i LoadFragmentInput) value() ast.Value {
	var svn ast.Value = ast.Null{}
	if i.HeaderSVN != nil {
		svn = number(*i.HeaderSVN)
	}
	receipt := func(r Receipt) ast.Value {
		return object(str("issuer", r.Issuer), strs("ttl_subjects", r.TTLSubjects))
	}
	return object(str("issuer", i.Issuer), str("feed", i.Feed), str("namespace", i.Namespace),
		boolean("fragment_loaded", i.FragmentLoaded), boolean("has_header_svn", i.HasHeaderSVN),
		field{"header_svn", svn}, field{"receipts", array(i.Receipts, receipt)})
}

func (i LoadTransparencyTrustListInput) value() ast.Value {
	return object(str("issuer", i.Issuer), str("subject", i.Subject), field{"svn", number(i.SVN)}, strs("ledgers", i.Ledgers))
}

func (i MountCIMsInput) value() ast.Value {
	return object(str("containerID", i.ContainerID), strs("layerHashes", i.LayerHashes), strs("mountedCim", i.MountedCIM))
}

func (i RegistryChangesInput) value() ast.Value {
	changes, err := ast.ValueFromReader(bytes.NewReader(i.RegistryChanges))
	if err != nil {
		changes = ast.Null{}
	}
	return object(str("containerID", i.ContainerID), field{"registryChanges", changes})
}

func (i LogProviderInput) value() ast.Value { return object(strs("providers", i.Providers)) }
