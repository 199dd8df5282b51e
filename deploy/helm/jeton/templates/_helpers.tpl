{{- define "jeton.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "jeton.labels" -}}
app.kubernetes.io/part-of: jeton
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{ include "jeton.app" . }}
{{- end -}}

{{- define "jeton.app" -}}
app.kubernetes.io/name: jeton
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "jeton.server" -}}
{{ include "jeton.app" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "jeton.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "jeton.toolbox" -}}
{{- .Values.toolbox.image | default (printf "%s-toolbox:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion)) -}}
{{- end -}}

{{/* In a rollout old pods keep their connections while they drain, and new ones have theirs already. */}}
{{- define "jeton.pool" -}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- .Values.database.pool | default (min 16 (max 1 (div 97 (mul 2 $most)))) -}}
{{- end -}}

{{- define "jeton.host" -}}
{{- regexReplaceAll ":[0-9]+$" (index (splitList "/" .Values.issuer) 2) "" -}}
{{- end -}}

{{/* The public paths; a test holds them against openapi.yaml. Metadata has the issuer's own path behind it
     (RFC 8414 section 3.1), and OpenID Connect's before it, too. */}}
{{- define "jeton.paths" -}}
{{- $path := regexReplaceAll "^https?://[^/]+" .Values.issuer "" -}}
- {{ $path }}/oauth2/authorize
- {{ $path }}/oauth2/token
- {{ $path }}/oauth2/introspect
- {{ $path }}/oauth2/revoke
- {{ $path }}/.well-known/jwks.json
- {{ $path }}/.well-known/jwks-schedule
- {{ $path }}/.well-known/openid-configuration
- /.well-known/oauth-authorization-server{{ $path }}
{{- with $path }}
- /.well-known/openid-configuration{{ . }}
{{- end }}
{{- end -}}

{{/* What every pod has: no token of the API server, no rights. */}}
{{- define "jeton.pod" -}}
serviceAccountName: {{ include "jeton.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "jeton.container" -}}
name: jeton
image: {{ include "jeton.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}
