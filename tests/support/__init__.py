"""Helpers of the tests: parts and data to try, programs with exact answers, and what is compared."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
