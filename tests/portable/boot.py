"""What Beam's container image runs for each worker, in Python: fetch the staged code, install it, start the harness.

The pool calls it with the endpoints of the runner. `STAGED` names the folder that takes the code: one a worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import grpc
from apache_beam.portability.api import (
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.portability.artifact_service import resolve_artifacts
from google.protobuf import json_format, text_format

parser = argparse.ArgumentParser()
for name in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint"):
    parser.add_argument(f"--{name}")
given = parser.parse_args()


def channel(address: str) -> grpc.Channel:
    """A connection to the runner that says which worker asks."""

    class NamesWorker(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
        def intercept_unary_unary(self, go_on, details, request):
            return go_on(details._replace(metadata=[("worker_id", given.id)]), request)

        intercept_unary_stream = intercept_unary_unary

    return grpc.intercept_channel(grpc.insecure_channel(address), NamesWorker())


os.makedirs(os.environ["STAGED"], exist_ok=True)
folder = tempfile.mkdtemp(prefix=f"{given.id}-", dir=os.environ["STAGED"])  # each job service counts from 0
provision = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel(given.provision_endpoint))
info = provision.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest()).info
retrieval = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel(given.artifact_endpoint))
for artifact in resolve_artifacts(list(info.dependencies), retrieval, folder):
    place = beam_runner_api_pb2.ArtifactFilePayload.FromString(artifact.type_payload).path
    staged = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload).staged_name
    if staged.endswith(".whl"):
        wheel = os.path.join(folder, staged)
        os.rename(place, wheel)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
        subprocess.run([*install, "--target", folder, wheel], check=True)
        for package in ("clean", "parse"):
            kept = os.path.join(os.environ["STAGED"], ".compiled", package)
            os.symlink(kept, os.path.join(folder, "pipeline", package, "__pycache__"))
os.environ.update(
    PYTHONPATH=folder,
    WORKER_ID=given.id,
    PIPELINE_OPTIONS=json.dumps(json_format.MessageToDict(info.pipeline_options)),
    CONTROL_API_SERVICE_DESCRIPTOR=text_format.MessageToString(
        endpoints_pb2.ApiServiceDescriptor(url=given.control_endpoint)
    ),
    LOGGING_API_SERVICE_DESCRIPTOR=text_format.MessageToString(
        endpoints_pb2.ApiServiceDescriptor(url=given.logging_endpoint)
    ),
)
os.execv(sys.executable, [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"])
