package sandbox

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Status codes are set here, once for each kind of failure (agent API contract 1.4): unknown container InvalidArgument, unknown
// process NotFound, wrong moment FailedPrecondition.

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func notFound(format string, args ...any) error {
	return status.Errorf(codes.NotFound, format, args...)
}

func wrongMoment(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

func internal(format string, args ...any) error {
	return status.Errorf(codes.Internal, format, args...)
}

// errStdio is input for a container whose policy does not allow stdio.
var errStdio = status.Error(codes.PermissionDenied, "WriteStreamRequest is blocked by policy: the container's stdio was not allowed when it was created")
