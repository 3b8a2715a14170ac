package trace

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// statusLength bounds the text of a span's status, in bytes.
const statusLength = 512

// request is the message of OTLP's Export call: TracesData has its fields at the same numbers, and lives in a package without gRPC.
func request(spans []sdktrace.ReadOnlySpan) *tracepb.TracesData {
	out := &tracepb.ResourceSpans{Resource: &resourcepb.Resource{Attributes: pairs(spans[0].Resource().Attributes())}}
	scopes := map[instrumentation.Scope]*tracepb.ScopeSpans{}
	for _, s := range spans {
		scope := s.InstrumentationScope()
		scope.Attributes = attribute.Set{}
		in, ok := scopes[scope]
		if !ok {
			in = &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: scope.Name, Version: scope.Version}, SchemaUrl: scope.SchemaURL}
			scopes[scope] = in
			out.ScopeSpans = append(out.ScopeSpans, in)
		}
		in.Spans = append(in.Spans, span(s))
	}
	return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{out}}
}

func span(s sdktrace.ReadOnlySpan) *tracepb.Span {
	id, trace, parent := s.SpanContext().SpanID(), s.SpanContext().TraceID(), s.Parent().SpanID()
	out := &tracepb.Span{
		TraceId: trace[:], SpanId: id[:], TraceState: s.SpanContext().TraceState().String(),
		Name: s.Name(), Kind: kind(s.SpanKind()), Status: spanStatus(s.Status()),
		StartTimeUnixNano: uint64(s.StartTime().UnixNano()), EndTimeUnixNano: uint64(s.EndTime().UnixNano()),
		Attributes: pairs(s.Attributes()), DroppedAttributesCount: uint32(s.DroppedAttributes()),
	}
	if s.Parent().IsValid() {
		out.ParentSpanId = parent[:]
	}
	return out
}

func kind(k oteltrace.SpanKind) tracepb.Span_SpanKind {
	switch k {
	case oteltrace.SpanKindServer:
		return tracepb.Span_SPAN_KIND_SERVER
	case oteltrace.SpanKindClient:
		return tracepb.Span_SPAN_KIND_CLIENT
	default:
		return tracepb.Span_SPAN_KIND_INTERNAL
	}
}

// spanStatus keeps the first line of an error's text: a refusal may carry its decision below, which is for whoever the policy lets read it.
func spanStatus(s sdktrace.Status) *tracepb.Status {
	text, _, _ := strings.Cut(s.Description, "\n")
	text = strings.ToValidUTF8(text[:min(len(text), statusLength)], "")
	switch s.Code {
	case codes.Error:
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: text}
	case codes.Ok:
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	default:
		return nil
	}
}

func pairs(attributes []attribute.KeyValue) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for _, a := range attributes {
		out = append(out, &commonpb.KeyValue{Key: string(a.Key), Value: value(a.Value)})
	}
	return out
}

// value has the types that the interceptors use; any other becomes its text.
func value(v attribute.Value) *commonpb.AnyValue {
	switch v.Type() {
	case attribute.BOOL:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v.AsBool()}}
	case attribute.INT64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v.AsInt64()}}
	case attribute.FLOAT64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v.AsFloat64()}}
	default:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(v.String(), "")}}
	}
}
