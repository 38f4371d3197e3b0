{{/* The configuration of the chart's own making, as YAML: addresses, folders, files of secrets. */}}
{{- define "cgr-proxy.own" -}}
{{- if and .Values.workloadIdentity.enabled (hasKey .Values.credentials "default") }}
{{- fail "workloadIdentity is the default credential: take credentials.default out" }}
{{- end }}
server:
  listen: "0.0.0.0:8080"
  {{- if .Values.metrics.existingSecret }}
  admin_listen: {{ printf "0.0.0.0:%v" .Values.metrics.port | quote }}
  admin_token_file: /run/cgr-proxy/metrics/token
  {{- else }}
  admin_listen: {{ printf "127.0.0.1:%v" .Values.metrics.port | quote }}
  {{- end }}
  {{- if .Values.tls.existingSecret }}
  tls_certificate: /run/cgr-proxy/tls/tls.crt
  tls_key: /run/cgr-proxy/tls/tls.key
  {{- end }}
  {{- if .Values.tls.clientCAConfigMap }}
  client_ca: /run/cgr-proxy/client-ca/ca.crt
  {{- end }}
cache:
  # Below the volume's own folder, which is root's and may hold a lost+found.
  directory: /var/cache/cgr-proxy/store
{{- if or .Values.upstreamCAConfigMap .Values.upstreamProxySecret }}
upstream:
  {{- if .Values.upstreamCAConfigMap }}
  ca_bundle: /run/cgr-proxy/upstream-ca/ca.crt
  {{- end }}
  {{- if .Values.upstreamProxySecret }}
  proxy_password_file: /run/cgr-proxy/upstream-proxy/pair
  {{- end }}
{{- end }}
{{- if or .Values.credentials .Values.workloadIdentity.enabled }}
credentials:
  {{- range $ecosystem, $_ := .Values.credentials }}
  {{ $ecosystem }}:
    username_file: /run/cgr-proxy/credentials/{{ $ecosystem }}/username
    password_file: /run/cgr-proxy/credentials/{{ $ecosystem }}/password
  {{- end }}
  {{- if .Values.workloadIdentity.enabled }}
  default:
    identity: {{ .Values.workloadIdentity.identity | quote }}
    identity_token_file: /run/cgr-proxy/identity/token
  {{- end }}
{{- end }}
{{- end -}}

{{/* One value as TOML. JSON's texts, numbers and booleans are TOML's. */}}
{{- define "cgr-proxy.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (include "cgr-proxy.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}
{{- $items = append $items (include "cgr-proxy.value" .) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* Tables as TOML, lists first: below the first header they would belong to it. */}}
{{- define "cgr-proxy.toml" -}}
{{- range $name, $value := . }}
{{- if kindIs "slice" $value }}
{{ $name }} = [
{{- range $value }}
  {{ include "cgr-proxy.value" . }},
{{- end }}
]
{{ end }}
{{- end }}
{{- range $name, $value := . }}
{{- if kindIs "map" $value }}
[{{ $name }}]
{{- range $key, $inner := $value }}
{{- if not (kindIs "invalid" $inner) }}
{{ toJson $key }} = {{ include "cgr-proxy.value" $inner }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{/* Everything: the chart's own, and what values.yaml says before it. As JSON. */}}
{{- define "cgr-proxy.config" -}}
{{- $own := include "cgr-proxy.own" . | fromYaml -}}
{{- mustMergeOverwrite $own (deepCopy .Values.config) | toJson -}}
{{- end -}}
