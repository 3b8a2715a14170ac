package point

import "reflect"

// Point names an enforcement point: the rule of the policy that is asked, in the policy contract's spelling.
type Point string

// The enforcement points of the policy contract, section 2.2.
const (
	MountDevice               Point = "mount_device"
	RWMountDevice             Point = "rw_mount_device"
	MountBlockDev             Point = "mount_blockdev"
	MountOverlay              Point = "mount_overlay"
	MountCIMs                 Point = "mount_cims"
	RegistryChanges           Point = "registry_changes"
	CreateContainer           Point = "create_container"
	UnmountDevice             Point = "unmount_device"
	RWUnmountDevice           Point = "rw_unmount_device"
	UnmountBlockDev           Point = "unmount_blockdev"
	UnmountOverlay            Point = "unmount_overlay"
	ExecInContainer           Point = "exec_in_container"
	ExecExternal              Point = "exec_external"
	ShutdownContainer         Point = "shutdown_container"
	SignalContainerProcess    Point = "signal_container_process"
	Plan9Mount                Point = "plan9_mount"
	Plan9Unmount              Point = "plan9_unmount"
	GetProperties             Point = "get_properties"
	DumpStacks                Point = "dump_stacks"
	RuntimeLogging            Point = "runtime_logging"
	LoadFragment              Point = "load_fragment"
	ScratchMount              Point = "scratch_mount"
	ScratchUnmount            Point = "scratch_unmount"
	LogProvider               Point = "log_provider"
	LoadTransparencyTrustList Point = "load_transparency_trust_list"
	HostNetwork               Point = "host_network"
)

// Fallback says what happens when a policy older than a point has no rule for it.
type Fallback int

// The fallbacks: refuse, allow, or ask the framework's rule of the point's name.
const (
	FallbackDeny Fallback = iota
	FallbackAllow
	FallbackFramework
)

// Outputs are the keys a rule may answer with besides "allowed" and "metadata".
type Outputs struct {
	Env, Caps, Stdio bool
}

// Row is one row of the api table. The table is the only place where a point is described: the api object policies
// can read, the defaults, the inputs and the list in the documentation come from here.
type Row struct {
	Point Point
	// Since is the api version that introduced the point.
	Since string
	// Default applies when the policy's api version is older than Since and the policy has no such rule.
	Default Fallback
	Outputs Outputs
	// Input is a zero value of the point's input type.
	Input Input
	// Flag is the policy's flag that alone decides the point, where there is one.
	Flag string
	// Unsupported is set for a point that is refused before any rule is asked, and says why.
	Unsupported string
}

var pointTable = []Row{
	{Point: MountDevice, Since: "0.1.0", Input: MountDeviceInput{}},
	{Point: MountOverlay, Since: "0.1.0", Input: MountOverlayInput{}},
	{
		Point: CreateContainer, Since: "0.1.0", Input: CreateContainerInput{},
		Outputs: Outputs{Env: true, Caps: true, Stdio: true},
	},
	{Point: UnmountDevice, Since: "0.2.0", Default: FallbackAllow, Input: UnmountDeviceInput{}},
	{
		Point: ExecInContainer, Since: "0.2.0", Default: FallbackAllow, Input: ExecInContainerInput{},
		Outputs: Outputs{Env: true, Caps: true},
	},
	{
		Point: ExecExternal, Since: "0.3.0", Default: FallbackAllow, Input: ExecExternalInput{},
		Outputs: Outputs{Env: true, Stdio: true},
	},
	{Point: ShutdownContainer, Since: "0.4.0", Default: FallbackAllow, Input: ShutdownContainerInput{}},
	{Point: SignalContainerProcess, Since: "0.5.0", Default: FallbackAllow, Input: SignalContainerProcessInput{}},
	{Point: Plan9Mount, Since: "0.6.0", Default: FallbackAllow, Input: Plan9MountInput{}},
	{Point: Plan9Unmount, Since: "0.6.0", Default: FallbackAllow, Input: Plan9UnmountInput{}},
	{Point: UnmountOverlay, Since: "0.6.0", Default: FallbackAllow, Input: UnmountOverlayInput{}},
	{Point: GetProperties, Since: "0.7.0", Default: FallbackAllow, Input: GetPropertiesInput{}, Flag: "allow_properties_access"},
	{Point: DumpStacks, Since: "0.7.0", Default: FallbackAllow, Input: DumpStacksInput{}, Flag: "allow_dump_stacks"},
	{Point: RuntimeLogging, Since: "0.8.0", Default: FallbackAllow, Input: RuntimeLoggingInput{}, Flag: "allow_runtime_logging"},
	{Point: LoadFragment, Since: "0.9.0", Input: LoadFragmentInput{}},
	{Point: ScratchMount, Since: "0.10.0", Default: FallbackAllow, Input: ScratchMountInput{}},
	{Point: ScratchUnmount, Since: "0.10.0", Default: FallbackAllow, Input: ScratchUnmountInput{}},
	{Point: RegistryChanges, Since: "0.10.0", Input: RegistryChangesInput{}},
	{Point: RWMountDevice, Since: "0.11.0", Default: FallbackFramework, Input: RWMountDeviceInput{}},
	{Point: RWUnmountDevice, Since: "0.11.0", Default: FallbackFramework, Input: RWUnmountDeviceInput{}},
	{Point: MountCIMs, Since: "0.11.0", Input: MountCIMsInput{}},
	{Point: LogProvider, Since: "0.11.0", Default: FallbackAllow, Input: LogProviderInput{}},
	{Point: MountBlockDev, Since: "0.11.1", Input: MountBlockDevInput{}},
	{Point: UnmountBlockDev, Since: "0.11.1", Input: UnmountBlockDevInput{}},
	{Point: LoadTransparencyTrustList, Since: "0.12.0", Input: LoadTransparencyTrustListInput{}},
	{Point: HostNetwork, Since: "0.12.0", Input: HostNetworkInput{}, Flag: "allow_host_network"},
}

// Rows returns the api table in the order the points were introduced. The caller must not change it.
func Rows() []Row { return pointTable }

func (f Fallback) String() string {
	switch f {
	case FallbackAllow:
		return "allow"
	case FallbackFramework:
		return "framework"
	}
	return "deny"
}

var pointRows = func() map[Point]*Row {
	rows := make(map[Point]*Row, len(pointTable))
	for i := range pointTable {
		rows[pointTable[i].Point] = &pointTable[i]
	}
	return rows
}()

// RowByName finds the row of a point, or nil.
func RowByName(p Point) *Row { return pointRows[p] }

// RowOf finds the row an input belongs to, or nil. Only the plain struct belongs to one: a pointer to it could be nil, or
// change while it is judged.
func RowOf(in Input) *Row {
	if in == nil || reflect.TypeOf(in).Kind() == reflect.Pointer {
		return nil
	}
	row := pointRows[in.Point()]
	if row == nil || reflect.TypeOf(row.Input) != reflect.TypeOf(in) {
		return nil
	}
	return row
}

// Point methods: the input type of each point.

func (MountDeviceInput) Point() Point               { return MountDevice }
func (RWMountDeviceInput) Point() Point             { return RWMountDevice }
func (MountBlockDevInput) Point() Point             { return MountBlockDev }
func (UnmountDeviceInput) Point() Point             { return UnmountDevice }
func (RWUnmountDeviceInput) Point() Point           { return RWUnmountDevice }
func (UnmountBlockDevInput) Point() Point           { return UnmountBlockDev }
func (MountOverlayInput) Point() Point              { return MountOverlay }
func (UnmountOverlayInput) Point() Point            { return UnmountOverlay }
func (ScratchMountInput) Point() Point              { return ScratchMount }
func (ScratchUnmountInput) Point() Point            { return ScratchUnmount }
func (Plan9MountInput) Point() Point                { return Plan9Mount }
func (Plan9UnmountInput) Point() Point              { return Plan9Unmount }
func (CreateContainerInput) Point() Point           { return CreateContainer }
func (ExecInContainerInput) Point() Point           { return ExecInContainer }
func (ExecExternalInput) Point() Point              { return ExecExternal }
func (ShutdownContainerInput) Point() Point         { return ShutdownContainer }
func (SignalContainerProcessInput) Point() Point    { return SignalContainerProcess }
func (GetPropertiesInput) Point() Point             { return GetProperties }
func (DumpStacksInput) Point() Point                { return DumpStacks }
func (RuntimeLoggingInput) Point() Point            { return RuntimeLogging }
func (HostNetworkInput) Point() Point               { return HostNetwork }
func (LoadFragmentInput) Point() Point              { return LoadFragment }
func (LoadTransparencyTrustListInput) Point() Point { return LoadTransparencyTrustList }
func (MountCIMsInput) Point() Point                 { return MountCIMs }
func (RegistryChangesInput) Point() Point           { return RegistryChanges }
func (LogProviderInput) Point() Point               { return LogProvider }
