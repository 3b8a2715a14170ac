package enforcer

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// Point names an enforcement point: the rule of the policy that is asked, in the policy contract's spelling.
type Point string

// The enforcement points of the policy contract, section 2.2.
const (
	PointMountDevice               Point = "mount_device"
	PointRWMountDevice             Point = "rw_mount_device"
	PointMountBlockDev             Point = "mount_blockdev"
	PointMountOverlay              Point = "mount_overlay"
	PointMountCIMs                 Point = "mount_cims"
	PointRegistryChanges           Point = "registry_changes"
	PointCreateContainer           Point = "create_container"
	PointUnmountDevice             Point = "unmount_device"
	PointRWUnmountDevice           Point = "rw_unmount_device"
	PointUnmountBlockDev           Point = "unmount_blockdev"
	PointUnmountOverlay            Point = "unmount_overlay"
	PointExecInContainer           Point = "exec_in_container"
	PointExecExternal              Point = "exec_external"
	PointShutdownContainer         Point = "shutdown_container"
	PointSignalContainerProcess    Point = "signal_container_process"
	PointPlan9Mount                Point = "plan9_mount"
	PointPlan9Unmount              Point = "plan9_unmount"
	PointGetProperties             Point = "get_properties"
	PointDumpStacks                Point = "dump_stacks"
	PointRuntimeLogging            Point = "runtime_logging"
	PointLoadFragment              Point = "load_fragment"
	PointScratchMount              Point = "scratch_mount"
	PointScratchUnmount            Point = "scratch_unmount"
	PointLogProvider               Point = "log_provider"
	PointLoadTransparencyTrustList Point = "load_transparency_trust_list"
	PointHostNetwork               Point = "host_network"
)

// fallback says what happens when a policy older than a point has no rule for it.
type fallback int

const (
	fallbackDeny fallback = iota
	fallbackAllow
	fallbackFramework
)

// outputs are the keys a rule may answer with besides "allowed" and "metadata".
type outputs struct {
	env, caps, stdio bool
}

// pointRow is one row of the api table. The table is the only place where a point is described: the api object policies
// can read, the defaults, the inputs and the list in the documentation come from here.
type pointRow struct {
	Point Point
	// Since is the api version that introduced the point.
	Since string
	// Default applies when the policy's api version is older than Since and the policy has no such rule.
	Default fallback
	Outputs outputs
	// Input is a zero value of the point's input type.
	Input Input
	// Flag is the policy's flag that alone decides the point, where there is one.
	Flag string
	// Unsupported is set for a point that is refused before any rule is asked, and says why.
	Unsupported string
}

const fragmentsUnsupported = "fragments are not supported by this agent"

var pointTable = []pointRow{
	{Point: PointMountDevice, Since: "0.1.0", Input: MountDeviceInput{}},
	{Point: PointMountOverlay, Since: "0.1.0", Input: MountOverlayInput{}},
	{
		Point: PointCreateContainer, Since: "0.1.0", Input: CreateContainerInput{},
		Outputs: outputs{env: true, caps: true, stdio: true},
	},
	{Point: PointUnmountDevice, Since: "0.2.0", Default: fallbackAllow, Input: UnmountDeviceInput{}},
	{
		Point: PointExecInContainer, Since: "0.2.0", Default: fallbackAllow, Input: ExecInContainerInput{},
		Outputs: outputs{env: true, caps: true},
	},
	{
		Point: PointExecExternal, Since: "0.3.0", Default: fallbackAllow, Input: ExecExternalInput{},
		Outputs: outputs{env: true, stdio: true},
	},
	{Point: PointShutdownContainer, Since: "0.4.0", Default: fallbackAllow, Input: ShutdownContainerInput{}},
	{Point: PointSignalContainerProcess, Since: "0.5.0", Default: fallbackAllow, Input: SignalContainerProcessInput{}},
	{Point: PointPlan9Mount, Since: "0.6.0", Default: fallbackAllow, Input: Plan9MountInput{}},
	{Point: PointPlan9Unmount, Since: "0.6.0", Default: fallbackAllow, Input: Plan9UnmountInput{}},
	{Point: PointUnmountOverlay, Since: "0.6.0", Default: fallbackAllow, Input: UnmountOverlayInput{}},
	{Point: PointGetProperties, Since: "0.7.0", Default: fallbackAllow, Input: GetPropertiesInput{}, Flag: "allow_properties_access"},
	{Point: PointDumpStacks, Since: "0.7.0", Default: fallbackAllow, Input: DumpStacksInput{}, Flag: "allow_dump_stacks"},
	{Point: PointRuntimeLogging, Since: "0.8.0", Default: fallbackAllow, Input: RuntimeLoggingInput{}, Flag: "allow_runtime_logging"},
	{Point: PointLoadFragment, Since: "0.9.0", Input: LoadFragmentInput{}, Unsupported: fragmentsUnsupported},
	{Point: PointScratchMount, Since: "0.10.0", Default: fallbackAllow, Input: ScratchMountInput{}},
	{Point: PointScratchUnmount, Since: "0.10.0", Default: fallbackAllow, Input: ScratchUnmountInput{}},
	{Point: PointRegistryChanges, Since: "0.10.0", Input: RegistryChangesInput{}},
	{Point: PointRWMountDevice, Since: "0.11.0", Default: fallbackFramework, Input: RWMountDeviceInput{}},
	{Point: PointRWUnmountDevice, Since: "0.11.0", Default: fallbackFramework, Input: RWUnmountDeviceInput{}},
	{Point: PointMountCIMs, Since: "0.11.0", Input: MountCIMsInput{}},
	{Point: PointLogProvider, Since: "0.11.0", Default: fallbackAllow, Input: LogProviderInput{}},
	{Point: PointMountBlockDev, Since: "0.11.1", Input: MountBlockDevInput{}},
	{Point: PointUnmountBlockDev, Since: "0.11.1", Input: UnmountBlockDevInput{}},
	{
		Point: PointLoadTransparencyTrustList, Since: "0.12.0", Input: LoadTransparencyTrustListInput{},
		Unsupported: fragmentsUnsupported,
	},
	{Point: PointHostNetwork, Since: "0.12.0", Input: HostNetworkInput{}, Flag: "allow_host_network"},
}

// PointInfo is a row of the api table, for documentation, tools and tests.
type PointInfo struct {
	Point Point
	// Since is the api version that introduced the point; Default is what an older policy without the rule gets:
	// "allow", "deny" or "framework".
	Since, Default string
	// Unsupported says why the point is refused whatever the policy says; empty when it is not.
	Unsupported string
}

// Points lists all enforcement points in the order they were introduced.
func Points() []PointInfo {
	list := make([]PointInfo, len(pointTable))
	for i, row := range pointTable {
		list[i] = PointInfo{Point: row.Point, Since: row.Since, Default: row.Default.String(), Unsupported: row.Unsupported}
	}
	return list
}

func (f fallback) String() string {
	switch f {
	case fallbackAllow:
		return "allow"
	case fallbackFramework:
		return "framework"
	}
	return "deny"
}

var pointRows = func() map[Point]*pointRow {
	rows := make(map[Point]*pointRow, len(pointTable))
	for i := range pointTable {
		rows[pointTable[i].Point] = &pointTable[i]
	}
	return rows
}()

// defaults is the row's answer for a policy that is older than the point.
func (r *pointRow) defaults() ast.Object {
	fields := []field{boolean("allowed", r.Default == fallbackAllow)}
	if r.Outputs.env {
		fields = append(fields, field{"env_list", ast.Null{}})
	}
	if r.Outputs.stdio {
		fields = append(fields, boolean("allow_stdio_access", false))
	}
	switch r.Point {
	case PointLoadFragment:
		fields = append(fields, boolean("add_module", false))
	case PointLogProvider:
		fields = append(fields, field{"providers_to_keep", ast.Null{}})
	}
	return object(fields...)
}

// apiObject is data.api: what a policy can look up about the points.
func apiObject() ast.Object {
	points := make([]field, len(pointTable))
	for i := range pointTable {
		row := &pointTable[i]
		points[i] = field{string(row.Point), object(
			str("introducedVersion", row.Since),
			field{"default_results", row.defaults()},
			boolean("use_framework", row.Default == fallbackFramework),
		)}
	}
	return object(str("version", aci.APIVersion), field{"enforcement_points", object(points...)})
}

// Point methods: the input type of each point.

func (MountDeviceInput) Point() Point               { return PointMountDevice }
func (RWMountDeviceInput) Point() Point             { return PointRWMountDevice }
func (MountBlockDevInput) Point() Point             { return PointMountBlockDev }
func (UnmountDeviceInput) Point() Point             { return PointUnmountDevice }
func (RWUnmountDeviceInput) Point() Point           { return PointRWUnmountDevice }
func (UnmountBlockDevInput) Point() Point           { return PointUnmountBlockDev }
func (MountOverlayInput) Point() Point              { return PointMountOverlay }
func (UnmountOverlayInput) Point() Point            { return PointUnmountOverlay }
func (ScratchMountInput) Point() Point              { return PointScratchMount }
func (ScratchUnmountInput) Point() Point            { return PointScratchUnmount }
func (Plan9MountInput) Point() Point                { return PointPlan9Mount }
func (Plan9UnmountInput) Point() Point              { return PointPlan9Unmount }
func (CreateContainerInput) Point() Point           { return PointCreateContainer }
func (ExecInContainerInput) Point() Point           { return PointExecInContainer }
func (ExecExternalInput) Point() Point              { return PointExecExternal }
func (ShutdownContainerInput) Point() Point         { return PointShutdownContainer }
func (SignalContainerProcessInput) Point() Point    { return PointSignalContainerProcess }
func (GetPropertiesInput) Point() Point             { return PointGetProperties }
func (DumpStacksInput) Point() Point                { return PointDumpStacks }
func (RuntimeLoggingInput) Point() Point            { return PointRuntimeLogging }
func (HostNetworkInput) Point() Point               { return PointHostNetwork }
func (LoadFragmentInput) Point() Point              { return PointLoadFragment }
func (LoadTransparencyTrustListInput) Point() Point { return PointLoadTransparencyTrustList }
func (MountCIMsInput) Point() Point                 { return PointMountCIMs }
func (RegistryChangesInput) Point() Point           { return PointRegistryChanges }
func (LogProviderInput) Point() Point               { return PointLogProvider }
